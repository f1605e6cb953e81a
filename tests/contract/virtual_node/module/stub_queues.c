// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Queues that take work as a real HCA's do and do none of it: what is sent completes, what
 * waits to be received is flushed when the queue pair ends. Whoever tears a device down
 * waits for exactly these completions.
 */
#include <linux/slab.h>
#include "stub_hca.h"

static void stub_forget(struct list_head *works)
{
	struct stub_work *work, *next;

	list_for_each_entry_safe(work, next, works, list) {
		list_del(&work->list);
		kfree(work);
	}
}

static struct stub_work *stub_new_work(struct ib_qp *qp, u64 wr_id, enum ib_wc_opcode opcode)
{
	struct stub_work *work = kzalloc(sizeof(*work), GFP_ATOMIC);

	if (work) {
		INIT_LIST_HEAD(&work->list);
		work->wc.wr_id = wr_id;
		work->wc.opcode = opcode;
		work->wc.qp = qp;
		work->wc.port_num = 1;
	}
	return work;
}

/* ---- Completion queues ---------------------------------------------------------------- */

static void stub_notify(struct work_struct *work)
{
	struct stub_cq *cq = container_of(work, struct stub_cq, notify);

	/* Handlers expect an interrupt's context: what they raise must run soon. */
	local_bh_disable();
	cq->ib.comp_handler(&cq->ib, cq->ib.cq_context);
	local_bh_enable();
}

void stub_complete(struct ib_cq *ibcq, struct stub_work *work, enum ib_wc_status status)
{
	struct stub_cq *cq = to_cq(ibcq);
	unsigned long flags;

	work->wc.status = status;
	spin_lock_irqsave(&cq->lock, flags);
	list_move_tail(&work->list, &cq->completions);
	queue_work(system_highpri_wq, &cq->notify);
	spin_unlock_irqrestore(&cq->lock, flags);
}

static int stub_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
			  struct uverbs_attr_bundle *attrs)
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
	struct stub_cq *cq = to_cq(ibcq);

	cancel_work_sync(&cq->notify);
	stub_forget(&cq->completions);
	return 0;
}

static int stub_poll_cq(struct ib_cq *ibcq, int entries, struct ib_wc *wc)
{
	struct stub_cq *cq = to_cq(ibcq);
	struct stub_work *work, *next;
	unsigned long flags;
	int n = 0;

	spin_lock_irqsave(&cq->lock, flags);
	list_for_each_entry_safe(work, next, &cq->completions, list) {
		if (n == entries)
			break;
		wc[n++] = work->wc;
		list_del(&work->list);
		kfree(work);
	}
	spin_unlock_irqrestore(&cq->lock, flags);
	return n;
}

/* Handlers are called for every completion, asked or not, so none is ever missed. */
static int stub_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags what)
{
	return 0;
}

/* ---- Queue pairs ---------------------------------------------------------------------- */

static int stub_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init, struct ib_udata *udata)
{
	struct stub_device *stub = to_stub(ibqp->device);
	struct stub_qp *qp = to_qp(ibqp);

	spin_lock_init(&qp->lock);
	INIT_LIST_HEAD(&qp->receives);
	qp->state = IB_QPS_RESET;
	ibqp->qp_num = init->qp_type; /* right for the special ones, 0 and 1 */
	if (init->qp_type > IB_QPT_GSI)
		ibqp->qp_num = atomic_inc_return(&stub->next_qpn) & 0xffffff;
	return 0;
}

/* Whoever waits to receive on a queue pair in error hears of it. Under the QP's lock. */
static void stub_flush(struct stub_qp *qp)
{
	struct stub_work *work, *next;

	if (qp->state != IB_QPS_ERR)
		return;
	list_for_each_entry_safe(work, next, &qp->receives, list)
		stub_complete(qp->ib.recv_cq, work, IB_WC_WR_FLUSH_ERR);
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
	stub_flush(qp);
	if (qp->state == IB_QPS_RESET)
		stub_forget(&qp->receives);
	spin_unlock_irqrestore(&qp->lock, flags);
	return 0;
}

static int stub_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	stub_forget(&to_qp(ibqp)->receives);
	return 0;
}

static int stub_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
			  const struct ib_recv_wr **bad)
{
	struct stub_qp *qp = to_qp(ibqp);
	struct stub_work *work;
	unsigned long flags;

	spin_lock_irqsave(&qp->lock, flags);
	for (*bad = wr; *bad; *bad = (*bad)->next) {
		work = stub_new_work(ibqp, (*bad)->wr_id, IB_WC_RECV);
		if (!work)
			break;
		if ((*bad)->num_sge)
			work->sge = *(*bad)->sg_list;
		list_add_tail(&work->list, &qp->receives);
	}
	stub_flush(qp);
	spin_unlock_irqrestore(&qp->lock, flags);
	return *bad ? -ENOMEM : 0;
}

static int stub_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
			  const struct ib_send_wr **bad)
{
	bool dead = READ_ONCE(to_qp(ibqp)->state) == IB_QPS_ERR;
	struct stub_work *work;

	for (*bad = wr; *bad; *bad = (*bad)->next) {
		work = stub_new_work(ibqp, (*bad)->wr_id, IB_WC_SEND);
		if (!work)
			return -ENOMEM;
		/* First, for once it is completed the sender may free what it has sent. */
		if (!dead && ibqp->qp_type == IB_QPT_GSI)
			stub_ask(to_qp(ibqp), *bad);
		stub_complete(ibqp->send_cq, work, dead ? IB_WC_WR_FLUSH_ERR : IB_WC_SUCCESS);
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
	.req_notify_cq = stub_req_notify_cq,
	INIT_RDMA_OBJ_SIZE(ib_cq, stub_cq, ib),
	INIT_RDMA_OBJ_SIZE(ib_qp, stub_qp, ib),
};
