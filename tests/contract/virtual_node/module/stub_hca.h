/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the stub HCA's parts share. */
#ifndef STUB_HCA_H
#define STUB_HCA_H

#include <linux/atomic.h>
#include <linux/if_link.h>
#include <linux/list.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>

#define STUB_MAX_VFS 16
#define STUB_PKEYS 128
#define STUB_GIDS 8
#define STUB_SM_LID 1
#define STUB_QKEY 0x0b1b
#define STUB_CAPABILITIES 0x2651e848 /* PortInfo:CapabilityMask of a ConnectX-6 */
#define STUB_SM_BIT BIT(1)
#define STUB_VENDOR 0x15b3
#define STUB_PF 0x101b
#define STUB_VF 0x101c
#define STUB_CLASS 0x020700
#define QEMU_NVME 0x0010
#define STUB_FE80 0xfe80000000000000ULL
#define STUB_GUID_BASE 0x0c42a10300000000ULL
#define STUB_MAD_SIZE 256
#define STUB_GRH_SIZE 40

/* What belongs to the port and to whoever administers it, not to the driver bound to it. */
struct stub_port {
	u64 node_guid;
	u64 port_guid;
	u16 pkeys[STUB_PKEYS];
	enum ib_port_state state;
	int link_policy; /* IFLA_VF_LINK_STATE_* */
	u16 lid;
};

struct stub_device {
	struct ib_device ib;
	struct pci_dev *pdev;
	struct stub_port *port; /* own of a PF; one of the PF's vfs of a VF */
	struct stub_port own;
	struct stub_port vfs[STUB_MAX_VFS];
	struct stub_device *bound[STUB_MAX_VFS]; /* the VFs' devices; stub_lock */
	struct kobject *tc;
	struct kobject *tc_port;
	int traffic_class;
	u32 capabilities;
	atomic_t next_key;
	atomic_t next_qpn;
};

struct stub_ah {
	struct ib_ah ib;
	struct rdma_ah_attr attr;
};

struct stub_completion {
	struct list_head list;
	struct ib_wc wc;
};

struct stub_cq {
	struct ib_cq ib;
	spinlock_t lock; /* completions, armed */
	struct list_head completions;
	bool armed;
	struct work_struct notify;
};

struct stub_receive {
	struct list_head list;
	u64 wr_id;
	struct ib_sge sge[2];
	int num_sge;
};

struct stub_qp {
	struct ib_qp ib;
	spinlock_t lock; /* state, receives */
	enum ib_qp_state state;
	struct list_head receives;
	bool signal_all;
};

#define to_stub(device) container_of(device, struct stub_device, ib)
#define to_cq(cq) container_of(cq, struct stub_cq, ib)
#define to_qp(qp) container_of(qp, struct stub_qp, ib)
#define to_ah(ah) container_of(ah, struct stub_ah, ib)

static inline enum ib_port_state stub_state(const struct stub_port *port)
{
	if (port->link_policy == IFLA_VF_LINK_STATE_DISABLE)
		return IB_PORT_DOWN;
	return port->state;
}

/* stub_queues.c: work is taken, completed and dropped. */
extern const struct ib_device_ops stub_queue_ops;
void stub_complete(struct ib_cq *cq, const struct ib_wc *wc);

/* stub_agents.c: management datagrams that get an answer. */
void stub_ask(struct stub_qp *qp, const struct ib_send_wr *wr);
int stub_process_mad(struct ib_device *device, int flags, u32 port_num,
		     const struct ib_wc *in_wc, const struct ib_grh *in_grh,
		     const struct ib_mad *in, struct ib_mad *out, size_t *out_size,
		     u16 *out_pkey_index);

#endif
