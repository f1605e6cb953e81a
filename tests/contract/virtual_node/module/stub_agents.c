// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The agent that IPoIB asks: a subnet administrator that grants every request for a group.
 */
#include <linux/crc32.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_sa.h>
#include "stub_hca.h"

#define STUB_QKEY 0x0b1b
#define STUB_EXACTLY(value) (2 << 6 | (value)) /* a selector before rates and the like */
#define STUB_GRH_SIZE sizeof(struct ib_grh)

/* Offsets are those of MCMemberRecord in the InfiniBand specification, volume 1, 15.2.5.17. */
static void stub_answer_member(u8 *record)
{
	/* A group's members must be told the same LID: make it from the group's GID. */
	u16 mlid = 0xc000 | (crc32_le(~0, record, 16) & 0x3fff);

	*(__be32 *)(record + 32) = cpu_to_be32(STUB_QKEY);
	*(__be16 *)(record + 36) = cpu_to_be16(mlid);
	record[38] = STUB_EXACTLY(IB_MTU_4096);
	if (!record[40] && !record[41])
		*(__be16 *)(record + 40) = cpu_to_be16(0xffff);
	record[42] = STUB_EXACTLY(IB_RATE_200_GBPS);
	record[43] = STUB_EXACTLY(18); /* packet life time */
	record[48] = 2 << 4 | (record[48] & 0xf); /* scope link-local, join state as asked */
}

/* Make a request its answer; false if it wants none. */
static bool stub_answer(struct stub_device *stub, struct ib_sa_mad *mad)
{
	struct ib_mad_hdr *hdr = &mad->mad_hdr;
	bool delete = hdr->method == IB_SA_METHOD_DELETE;

	if (hdr->mgmt_class != IB_MGMT_CLASS_SUBN_ADM || hdr->method & IB_MGMT_METHOD_RESP ||
	    stub_state(stub->port) != IB_PORT_ACTIVE)
		return false;
	if (hdr->attr_id == cpu_to_be16(IB_SA_ATTR_MC_MEMBER_REC))
		stub_answer_member(mad->data);
	else if (hdr->attr_id != cpu_to_be16(IB_SA_ATTR_CLASS_PORTINFO))
		hdr->status = cpu_to_be16(IB_MGMT_MAD_STATUS_UNSUPPORTED_METHOD_ATTRIB);
	hdr->method = delete ? IB_SA_METHOD_DELETE_RESP : IB_MGMT_METHOD_GET_RESP;
	return true;
}

/* Put a management datagram into the queue pair's next receive, behind room for a GRH. */
static void stub_deliver(struct stub_qp *qp, const struct ib_sa_mad *mad)
{
	struct stub_work *work;
	unsigned long flags;
	u8 *buffer;

	spin_lock_irqsave(&qp->lock, flags);
	work = list_first_entry_or_null(&qp->receives, struct stub_work, list);
	if (work && work->sge.length >= STUB_GRH_SIZE + sizeof(*mad)) {
		buffer = (u8 *)(uintptr_t)work->sge.addr;
		memset(buffer, 0, STUB_GRH_SIZE);
		memcpy(buffer + STUB_GRH_SIZE, mad, sizeof(*mad));
		work->wc.byte_len = STUB_GRH_SIZE + sizeof(*mad);
		work->wc.src_qp = 1;
		work->wc.slid = STUB_SM_LID;
		stub_complete(qp->ib.recv_cq, work, IB_WC_SUCCESS);
	}
	spin_unlock_irqrestore(&qp->lock, flags);
}

void stub_ask(struct stub_qp *qp, const struct ib_send_wr *wr)
{
	struct ib_sa_mad mad = {};
	size_t length = 0;
	int i;

	for (i = 0; i < wr->num_sge && length < sizeof(mad); i++) {
		size_t part = min_t(size_t, wr->sg_list[i].length, sizeof(mad) - length);

		memcpy((u8 *)&mad + length, (void *)(uintptr_t)wr->sg_list[i].addr, part);
		length += part;
	}
	if (stub_answer(to_stub(qp->ib.device), &mad))
		stub_deliver(qp, &mad);
}
