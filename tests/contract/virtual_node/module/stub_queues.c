// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Queues that take work as a real HCA's do and do none of it: what is sent completes, what
 * waits to be received is flushed when the queue pair ends. Whoever tears a device down
 * waits for exactly these completions.
 */
#include <linux/slab.h>
#include <linux/version.h>
#include "stub_hca.h"

/* ---- Completion queues ---------------------------------------------------------------- */

static void stub_notify(struct work_struct *work)
{
	struct stub_cq *cq = container_of(work, struct stub_cq, notify);

	/* Handlers expect an interrupt's context: what they raise must run soon. */
	local_bh_disable();
	cq->ib.comp_handler(&cq->ib, cq->ib.cq_context);
	local_bh_enable();
}

void stub_complete(struct ib_cq *ibcq, const struct ib_wc *wc)
{
	struct stub_completion *completion = kzalloc(sizeof(*completion), GFP_ATOMIC);
	struct stub_cq *cq = to_cq(ibcq);
	unsigned long flags;

	if (WARN_ON_ONCE(!completion))
		return;
	completion->wc = *wc;
	spin_lock_irqsave(&cq->lock, flags);
	list_add_tail(&completion->list, &cq->completions);
	if (cq->armed) {
		cq->armed = false;
		queue_work(system_highpri_wq, &cq->notify);
	}
	spin_unlock_irqrestore(&cq->lock, flags);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static int stub_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
			  struct uverbs_attr_bundle *attrs)
#else
static int stub_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
			  struct ib_udata *attrs)
#endif
{
	struct stub_cq *cq = to_cq(ibcq);

	if (attrs) /* a process's; it would want the queue mapped */
		return -EOPNOTSUPP;
	spin_lock_init(&cq->lock);
	INIT_LIST_HEAD(&cq->completions);
	INIT_WORK(&cq->notify, stub_notify);
	ibcq->cqe = attr->cqe;
	return 0;
}

static int stub_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata)
{
	struct stub_completion *completion, *next;
	struct stub_cq *cq = to_cq(ibcq);

	cancel_work_sync(&cq->notify);
	list_for_each_entry_safe(completion, next, &cq->completions, list)
		kfree(completion);
	return 0;
}

static int stub_poll_cq(struct ib_cq *ibcq, int entries, struct ib_wc *wc)
{
	struct stub_completion *completion;
	struct stub_cq *cq = to_cq(ibcq);
	unsigned long flags;
	int n;

	spin_lock_irqsave(&cq->lock, flags);
	for (n = 0; n < entries; n++) {
		completion = list_first_entry_or_null(&cq->completions, struct stub_completion,
						      list);
		if (!completion)
			break;
		list_del(&completion->list);
		wc[n] = completion->wc;
		kfree(completion);
	}
	spin_unlock_irqrestore(&cq->lock, flags);
	return n;
}

static int stub_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags what)
{
	struct stub_cq *cq = to_cq(ibcq);
	unsigned long flags;
	int missed;

	spin_lock_irqsave(&cq->lock, flags);
	cq->armed = true;
	missed = (what & IB_CQ_REPORT_MISSED_EVENTS) && !list_empty(&cq->completions);
	spin_unlock_irqrestore(&cq->lock, flags);
	return missed;
}

/* ---- Queue pairs ---------------------------------------------------------------------- */

static int stub_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init, struct ib_udata *udata)
{
	struct stub_device *stub = to_stub(ibqp->device);
	struct stub_qp *qp = to_qp(ibqp);

	if (udata)
		return -EOPNOTSUPP;
	spin_lock_init(&qp->lock);
	INIT_LIST_HEAD(&qp->receives);
	qp->state = IB_QPS_RESET;
	qp->signal_all = init->sq_sig_type == IB_SIGNAL_ALL_WR;
	if (init->qp_type == IB_QPT_SMI)
		ibqp->qp_num = 0;
	else if (init->qp_type == IB_QPT_GSI)
		ibqp->qp_num = 1;
	else
		ibqp->qp_num = atomic_inc_return(&stub->next_qpn) & 0xffffff;
	init->cap.max_inline_data = 0;
	return 0;
}

/* Empty the receive queue; with a flush the poster hears of it. Under the QP's lock. */
static void stub_drop_receives(struct stub_qp *qp, bool flush)
{
	struct ib_wc wc = { .status = IB_WC_WR_FLUSH_ERR, .opcode = IB_WC_RECV, .qp = &qp->ib };
	struct stub_receive *receive, *next;

	list_for_each_entry_safe(receive, next, &qp->receives, list) {
		wc.wr_id = receive->wr_id;
		list_del(&receive->list);
		kfree(receive);
		if (flush)
			stub_complete(qp->ib.recv_cq, &wc);
	}
}

static int stub_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
			  struct ib_udata *udata)
{
	struct stub_qp *qp = to_qp(ibqp);
	unsigned long flags;

	if (!(mask & IB_QP_STATE))
		return 0;
	spin_lock_irqsave(&qp->lock, flags);
	qp->state = attr->qp_state;
	if (qp->state == IB_QPS_ERR || qp->state == IB_QPS_RESET)
		stub_drop_receives(qp, qp->state == IB_QPS_ERR);
	spin_unlock_irqrestore(&qp->lock, flags);
	return 0;
}

static int stub_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
			 struct ib_qp_init_attr *init)
{
	memset(attr, 0, sizeof(*attr));
	memset(init, 0, sizeof(*init));
	attr->qp_state = to_qp(ibqp)->state;
	attr->cur_qp_state = attr->qp_state;
	attr->port_num = 1;
	return 0;
}

static int stub_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	struct stub_qp *qp = to_qp(ibqp);
	unsigned long flags;

	spin_lock_irqsave(&qp->lock, flags);
	stub_drop_receives(qp, false);
	spin_unlock_irqrestore(&qp->lock, flags);
	return 0;
}

static int stub_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
			  const struct ib_recv_wr **bad)
{
	struct stub_qp *qp = to_qp(ibqp);
	struct stub_receive *receive;
	unsigned long flags;
	int err = 0;

	spin_lock_irqsave(&qp->lock, flags);
	for (; wr; wr = wr->next) {
		receive = kzalloc(sizeof(*receive), GFP_ATOMIC);
		if (!receive) {
			*bad = wr;
			err = -ENOMEM;
			break;
		}
		receive->wr_id = wr->wr_id;
		receive->num_sge = min_t(int, wr->num_sge, ARRAY_SIZE(receive->sge));
		memcpy(receive->sge, wr->sg_list, receive->num_sge * sizeof(*wr->sg_list));
		list_add_tail(&receive->list, &qp->receives);
	}
	if (qp->state == IB_QPS_ERR)
		stub_drop_receives(qp, true);
	spin_unlock_irqrestore(&qp->lock, flags);
	return err;
}

static int stub_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
			  const struct ib_send_wr **bad)
{
	struct stub_qp *qp = to_qp(ibqp);

	for (; wr; wr = wr->next) {
		bool dead = READ_ONCE(qp->state) == IB_QPS_ERR;
		struct ib_wc wc = {
			.wr_id = wr->wr_id,
			.status = dead ? IB_WC_WR_FLUSH_ERR : IB_WC_SUCCESS,
			.opcode = IB_WC_SEND,
			.qp = ibqp,
			.port_num = 1,
		};

		if (dead || qp->signal_all || wr->send_flags & IB_SEND_SIGNALED)
			stub_complete(ibqp->send_cq, &wc);
		if (!dead && ibqp->qp_type == IB_QPT_GSI)
			stub_ask(qp, wr);
	}
	return 0;
}

const struct ib_device_ops stub_queue_ops = {
	.create_cq = stub_create_cq,
	.create_qp = stub_create_qp,
	.destroy_cq = stub_destroy_cq,
	.destroy_qp = stub_destroy_qp,
	.modify_qp = stub_modify_qp,
	.poll_cq = stub_poll_cq,
	.post_recv = stub_post_recv,
	.post_send = stub_post_send,
	.query_qp = stub_query_qp,
	.req_notify_cq = stub_req_notify_cq,
	INIT_RDMA_OBJ_SIZE(ib_cq, stub_cq, ib),
	INIT_RDMA_OBJ_SIZE(ib_qp, stub_qp, ib),
};
