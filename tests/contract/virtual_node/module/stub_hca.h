/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the stub HCA's parts share. */
#ifndef STUB_HCA_H
#define STUB_HCA_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
#define uverbs_attr_bundle ib_udata /* create_cq's last parameter, before it changed */
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#define STUB_DMAH
#else
#define STUB_DMAH struct ib_dmah *dmah, /* one parameter more of reg_user_mr */
#endif

#define STUB_MAX_VFS 8
#define STUB_PKEYS 128
#define STUB_SM_LID 1

/* What belongs to the port and to whoever administers it, not to the driver bound to it. */
struct stub_port {
	u64 node_guid;
	u64 port_guid;
	u16 pkeys[STUB_PKEYS];
	enum ib_port_state state;
	int link_policy; /* IFLA_VF_LINK_STATE_* */
	u16 lid;
	struct stub_device *bound; /* whose port it is, while there is one; stub_lock */
};

struct stub_device {
	struct ib_device ib;
	struct pci_dev *pdev;
	struct stub_port *port; /* own of a PF; one of the PF's vfs of a VF */
	struct stub_port own;
	struct stub_port vfs[STUB_MAX_VFS];
	struct kobject *tc_port;
	int traffic_class;
	atomic_t next_qpn;
};

/* A work request: first in its queue pair, if it waits there, then in a completion queue. */
struct stub_work {
	struct list_head list;
	struct ib_wc wc;
	struct ib_sge sge; /* where what is received goes */
};

struct stub_cq {
	struct ib_cq ib;
	spinlock_t lock; /* completions */
	struct list_head completions;
	struct work_struct notify;
};

struct stub_qp {
	struct ib_qp ib;
	spinlock_t lock; /* state, receives */
	enum ib_qp_state state;
	struct list_head receives;
};

#define to_stub(device) container_of(device, struct stub_device, ib)
#define to_cq(cq) container_of(cq, struct stub_cq, ib)
#define to_qp(qp) container_of(qp, struct stub_qp, ib)

/* stub_main.c: the state a port has after its PF's say. */
enum ib_port_state stub_state(const struct stub_port *port);

/* stub_queues.c: work is taken, completed and dropped. */
extern const struct ib_device_ops stub_queue_ops;
void stub_complete(struct ib_cq *cq, struct stub_work *work, enum ib_wc_status status);

/* stub_agents.c: a management datagram may get an answer. */
void stub_ask(struct stub_qp *qp, const struct ib_send_wr *wr);

#endif
