// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The agents that IPoIB and the counters ask: a subnet administrator that grants every
 * request for a group or a path, and a performance agent that has counted nothing.
 */
#include <linux/crc32.h>
#include <linux/slab.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_sa.h>
#include "stub_hca.h"

/* A group's members must be told the same LID: make it from the group's GID. */
static __be16 stub_mlid(const u8 *mgid)
{
	return cpu_to_be16(0xc000 | (crc32_le(~0, mgid, 16) & 0x3fff));
}

/* Offsets are those of the records in the InfiniBand specification, volume 1, chapter 15. */
static void stub_answer_member(u8 *record)
{
	*(__be32 *)(record + 32) = cpu_to_be32(STUB_QKEY);
	*(__be16 *)(record + 36) = stub_mlid(record);
	record[38] = 2 << 6 | IB_MTU_4096;
	record[39] = 0; /* traffic class */
	if (!record[40] && !record[41])
		*(__be16 *)(record + 40) = cpu_to_be16(0xffff);
	record[42] = 2 << 6 | IB_RATE_200_GBPS;
	record[43] = 2 << 6 | 18; /* packet life time */
	record[48] = 2 << 4 | (record[48] & 0xf); /* scope link-local, join state as asked */
}

static void stub_answer_path(struct stub_device *stub, u8 *record)
{
	*(__be16 *)(record + 40) = cpu_to_be16(stub->port->lid); /* everybody is here */
	*(__be16 *)(record + 42) = cpu_to_be16(stub->port->lid);
	record[49] |= 0x80; /* reversible, in number-of-paths' byte */
	if (!record[50] && !record[51])
		*(__be16 *)(record + 50) = cpu_to_be16(0xffff);
	record[54] = 2 << 6 | IB_MTU_4096;
	record[55] = 2 << 6 | IB_RATE_200_GBPS;
	record[56] = 2 << 6 | 18;
}

/* Make a request its answer; false if it wants none. */
static bool stub_answer(struct stub_device *stub, struct ib_sa_mad *mad)
{
	struct ib_mad_hdr *hdr = &mad->mad_hdr;

	if (hdr->mgmt_class != IB_MGMT_CLASS_SUBN_ADM || hdr->method & IB_MGMT_METHOD_RESP)
		return false;
	if (stub_state(stub->port) != IB_PORT_ACTIVE)
		return false;
	switch (be16_to_cpu(hdr->attr_id)) {
	case IB_SA_ATTR_CLASS_PORTINFO:
		break;
	case IB_SA_ATTR_MC_MEMBER_REC:
		stub_answer_member(mad->data);
		break;
	case IB_SA_ATTR_PATH_REC:
		stub_answer_path(stub, mad->data);
		break;
	default:
		hdr->status = cpu_to_be16(IB_MGMT_MAD_STATUS_UNSUPPORTED_METHOD_ATTRIB);
	}
	if (hdr->method == IB_SA_METHOD_DELETE)
		hdr->method = IB_SA_METHOD_DELETE_RESP;
	else
		hdr->method = IB_MGMT_METHOD_GET_RESP;
	return true;
}

/* Put a management datagram into the queue pair's next receive, behind room for a GRH. */
static void stub_deliver(struct stub_qp *qp, const void *mad)
{
	struct ib_wc wc = {
		.status = IB_WC_SUCCESS,
		.opcode = IB_WC_RECV,
		.qp = &qp->ib,
		.byte_len = STUB_GRH_SIZE + STUB_MAD_SIZE,
		.src_qp = 1,
		.slid = STUB_SM_LID,
		.port_num = 1,
	};
	struct stub_receive *receive;
	unsigned long flags;

	spin_lock_irqsave(&qp->lock, flags);
	receive = list_first_entry_or_null(&qp->receives, struct stub_receive, list);
	if (receive && receive->sge[0].length >= wc.byte_len) {
		list_del(&receive->list);
		memset((void *)(uintptr_t)receive->sge[0].addr, 0, STUB_GRH_SIZE);
		memcpy((void *)(uintptr_t)receive->sge[0].addr + STUB_GRH_SIZE, mad,
		       STUB_MAD_SIZE);
		wc.wr_id = receive->wr_id;
		stub_complete(qp->ib.recv_cq, &wc);
		kfree(receive);
	}
	spin_unlock_irqrestore(&qp->lock, flags);
}

void stub_ask(struct stub_qp *qp, const struct ib_send_wr *wr)
{
	u8 mad[STUB_MAD_SIZE] __aligned(8) = {};
	size_t length = 0;
	int i;

	for (i = 0; i < wr->num_sge && length < sizeof(mad); i++) {
		size_t part = min_t(size_t, wr->sg_list[i].length, sizeof(mad) - length);

		memcpy(mad + length, (void *)(uintptr_t)wr->sg_list[i].addr, part);
		length += part;
	}
	if (stub_answer(to_stub(qp->ib.device), (struct ib_sa_mad *)mad))
		stub_deliver(qp, mad);
}

/* Counters are read by asking the device's performance agent: all are zero. */
int stub_process_mad(struct ib_device *device, int flags, u32 port_num,
		     const struct ib_wc *in_wc, const struct ib_grh *in_grh,
		     const struct ib_mad *in, struct ib_mad *out, size_t *out_size,
		     u16 *out_pkey_index)
{
	if (in->mad_hdr.mgmt_class != IB_MGMT_CLASS_PERF_MGMT ||
	    in->mad_hdr.method & IB_MGMT_METHOD_RESP)
		return IB_MAD_RESULT_SUCCESS;
	memset(out, 0, sizeof(*out));
	out->mad_hdr = in->mad_hdr;
	out->mad_hdr.method = IB_MGMT_METHOD_GET_RESP;
	return IB_MAD_RESULT_SUCCESS | IB_MAD_RESULT_REPLY;
}
