// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * stub_hca - an InfiniBand HCA without a wire, for tests of what stands above one.
 *
 * Binds PCI functions that do nothing (QEMU's nvme, physical and virtual) and registers an
 * InfiniBand device for each below the kernel's own ib_core, ib_uverbs, ib_umad and
 * ib_ipoib, dressed as a ConnectX-6: what the tests look at is the real stack's behaviour.
 *
 * No data moves: sends complete and are dropped. Only requests to the subnet administrator
 * are answered, by the device itself, which is enough for IPoIB to get its carrier.
 *
 * Knobs, on the PCI function in sysfs; each raises the event that a real HCA raises:
 *   stub_port_state  NOP, DOWN, INIT, ARMED or ACTIVE
 *   stub_pkeys       the port's pkey table, as hexadecimal numbers; what is left out is 0
 * A VF's GUIDs and link state are set through its PF's netdev, as for a real HCA; the GUIDs
 * take effect when the VF is bound the next time.
 */
#include <linux/if_link.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <rdma/ib_mad.h>
#include "stub_hca.h"

#define STUB_GIDS 8
#define STUB_VENDOR 0x15b3
#define STUB_PF 0x101b
#define STUB_VF 0x101c
#define QEMU_NVME 0x0010

static bool zero_guids;
module_param(zero_guids, bool, 0644);
MODULE_PARM_DESC(zero_guids, "VFs of PFs bound from now on have no GUIDs until they are set");

static DEFINE_MUTEX(stub_lock);

/* ---- The port's administration ------------------------------------------------------- */

static void stub_port_init(struct stub_port *port, u64 guid, u16 lid)
{
	port->node_guid = guid;
	port->port_guid = guid;
	port->pkeys[0] = 0xffff;
	port->state = IB_PORT_ACTIVE;
	port->link_policy = IFLA_VF_LINK_STATE_AUTO;
	port->lid = lid;
}

enum ib_port_state stub_state(const struct stub_port *port)
{
	return port->link_policy == IFLA_VF_LINK_STATE_DISABLE ? IB_PORT_DOWN : port->state;
}

static void stub_event(struct stub_device *stub, enum ib_event_type type)
{
	struct ib_event event = { .device = &stub->ib, .event = type, .element.port_num = 1 };

	ib_dispatch_event(&event);
}

static void stub_state_event(struct stub_device *stub)
{
	bool active = stub_state(stub->port) == IB_PORT_ACTIVE;

	stub_event(stub, active ? IB_EVENT_PORT_ACTIVE : IB_EVENT_PORT_ERR);
}

static ssize_t stub_port_state_store(struct device *dev, struct device_attribute *attr,
				     const char *buf, size_t count)
{
	/* In the order of enum ib_port_state. */
	static const char *const states[] = { "NOP", "DOWN", "INIT", "ARMED", "ACTIVE" };
	struct stub_device *stub = dev_get_drvdata(dev);
	int state = sysfs_match_string(states, buf);

	if (state < 0)
		return state;
	stub->port->state = state;
	stub_state_event(stub);
	return count;
}
static DEVICE_ATTR_WO(stub_port_state);

static ssize_t stub_pkeys_store(struct device *dev, struct device_attribute *attr,
				const char *buf, size_t count)
{
	struct stub_device *stub = dev_get_drvdata(dev);
	u16 pkeys[STUB_PKEYS] = {};
	const char *rest = buf;
	int n, length;

	for (n = 0; n < STUB_PKEYS && sscanf(rest, " %hx%n", &pkeys[n], &length) == 1; n++)
		rest += length;
	if (*skip_spaces(rest))
		return -EINVAL;
	memcpy(stub->port->pkeys, pkeys, sizeof(pkeys));
	stub_event(stub, IB_EVENT_PKEY_CHANGE);
	return count;
}
static DEVICE_ATTR_WO(stub_pkeys);

static struct attribute *stub_pci_attrs[] = {
	&dev_attr_stub_port_state.attr,
	&dev_attr_stub_pkeys.attr,
	NULL,
};
ATTRIBUTE_GROUPS(stub_pci);

/* ---- What the InfiniBand device shows in sysfs beyond ib_core's own ------------------- */

static ssize_t hca_type_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct stub_device *stub = rdma_device_to_drv_device(dev, struct stub_device, ib);

	return sysfs_emit(buf, "MT%d\n", stub->pdev->device);
}
static DEVICE_ATTR_RO(hca_type);

static ssize_t board_id_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "MT_0000000223\n");
}
static DEVICE_ATTR_RO(board_id);

static struct attribute *stub_ib_attrs[] = {
	&dev_attr_hca_type.attr,
	&dev_attr_board_id.attr,
	NULL,
};

static const struct attribute_group stub_ib_group = { .attrs = stub_ib_attrs };

/* tc/1/traffic_class, which the vendor's own driver package adds to the mainline's files. */
static struct stub_device *stub_of(struct kobject *tc_port)
{
	return to_stub(container_of(tc_port->parent->parent, struct ib_device, dev.kobj));
}

static ssize_t traffic_class_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	int value = stub_of(kobj)->traffic_class;

	return value < 0 ? 0 : sysfs_emit(buf, "Global tclass=%d\n", value);
}

static ssize_t traffic_class_store(struct kobject *kobj, struct kobj_attribute *attr,
				   const char *buf, size_t count)
{
	int value, err = kstrtoint(buf, 10, &value);

	if (err || value < -1 || value > 255)
		return -EINVAL;
	stub_of(kobj)->traffic_class = value;
	return count;
}

static struct kobj_attribute stub_traffic_class = __ATTR_RW(traffic_class);

static int stub_tc_add(struct stub_device *stub)
{
	struct kobject *tc = kobject_create_and_add("tc", &stub->ib.dev.kobj);

	if (!tc)
		return -ENOMEM;
	stub->traffic_class = -1;
	stub->tc_port = kobject_create_and_add("1", tc);
	kobject_put(tc); /* held by what is in it */
	return stub->tc_port ? sysfs_create_file(stub->tc_port, &stub_traffic_class.attr) : -ENOMEM;
}

/* ---- Queries -------------------------------------------------------------------------- */

static int stub_query_device(struct ib_device *device, struct ib_device_attr *attr,
			     struct ib_udata *udata)
{
	struct pci_dev *pdev = to_stub(device)->pdev;

	*attr = (struct ib_device_attr){
		.fw_ver = 20ULL << 32 | 35 << 16 | 1012,
		.vendor_id = 0x02c9,
		.vendor_part_id = pdev->device,
		.max_send_sge = 32,
		.max_pkeys = STUB_PKEYS,
		.kernel_cap_flags = IBK_LOCAL_DMA_LKEY,
	};
	if (pdev->is_virtfn)
		attr->kernel_cap_flags |= IBK_VIRTUAL_FUNCTION;
	return 0;
}

static void stub_fw_str(struct ib_device *device, char *str)
{
	strscpy(str, "20.35.1012", IB_FW_VERSION_NAME_MAX);
}

static int stub_query_port(struct ib_device *device, u32 port_num, struct ib_port_attr *attr)
{
	struct stub_device *stub = to_stub(device);
	bool down = stub_state(stub->port) == IB_PORT_DOWN;

	attr->state = stub_state(stub->port);
	attr->phys_state = down ? IB_PORT_PHYS_STATE_POLLING : IB_PORT_PHYS_STATE_LINK_UP;
	attr->lid = down ? 0xffff : stub->port->lid;
	attr->sm_lid = STUB_SM_LID;
	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = IB_MTU_4096;
	attr->gid_tbl_len = STUB_GIDS;
	attr->pkey_tbl_len = STUB_PKEYS;
	attr->port_cap_flags = 0x2651e848; /* a ConnectX-6's */
	attr->active_width = IB_WIDTH_4X;
	attr->active_speed = IB_SPEED_HDR;
	return 0;
}

static int stub_port_immutable(struct ib_device *device, u32 port_num,
			       struct ib_port_immutable *immutable)
{
	immutable->pkey_tbl_len = STUB_PKEYS;
	immutable->gid_tbl_len = STUB_GIDS;
	immutable->core_cap_flags = RDMA_CORE_PORT_IBA_IB;
	immutable->max_mad_size = IB_MGMT_MAD_SIZE;
	return 0;
}

static int stub_query_gid(struct ib_device *device, u32 port_num, int index, union ib_gid *gid)
{
	gid->global.subnet_prefix = cpu_to_be64(0xfe80000000000000ULL);
	gid->global.interface_id = index ? 0 : cpu_to_be64(to_stub(device)->port->port_guid);
	return 0;
}

static int stub_query_pkey(struct ib_device *device, u32 port_num, u16 index, u16 *pkey)
{
	*pkey = to_stub(device)->port->pkeys[index];
	return 0;
}

/* Counters are read by asking the device's performance agent: all are zero. */
static int stub_process_mad(struct ib_device *device, int flags, u32 port_num,
			    const struct ib_wc *in_wc, const struct ib_grh *in_grh,
			    const struct ib_mad *in, struct ib_mad *out, size_t *out_size,
			    u16 *out_pkey_index)
{
	if (in->mad_hdr.mgmt_class != IB_MGMT_CLASS_PERF_MGMT)
		return IB_MAD_RESULT_SUCCESS;
	memset(out, 0, sizeof(*out));
	out->mad_hdr = in->mad_hdr;
	out->mad_hdr.method = IB_MGMT_METHOD_GET_RESP;
	return IB_MAD_RESULT_SUCCESS | IB_MAD_RESULT_REPLY;
}

/* ---- A PF's say over its VFs: rtnetlink asks of those there are, but may set any ------- */

static struct stub_port *stub_vf(struct ib_device *device, int vf)
{
	struct stub_device *stub = to_stub(device);

	return vf >= 0 && vf < min(pci_num_vf(stub->pdev), STUB_MAX_VFS) ? &stub->vfs[vf] : NULL;
}

static int stub_set_vf_guid(struct ib_device *device, int vf, u32 port_num, u64 guid, int type)
{
	struct stub_port *port = stub_vf(device, vf);

	if (!port)
		return -EINVAL;
	*(type == IFLA_VF_IB_NODE_GUID ? &port->node_guid : &port->port_guid) = guid;
	return 0;
}

static int stub_get_vf_guid(struct ib_device *device, int vf, u32 port_num,
			    struct ifla_vf_guid *node_guid, struct ifla_vf_guid *port_guid)
{
	struct stub_port *port = &to_stub(device)->vfs[vf];

	node_guid->guid = port->node_guid;
	port_guid->guid = port->port_guid;
	return 0;
}

static int stub_get_vf_config(struct ib_device *device, int vf, u32 port_num,
			      struct ifla_vf_info *info)
{
	*info = (struct ifla_vf_info){
		.vf = vf,
		.linkstate = to_stub(device)->vfs[vf].link_policy,
	};
	return 0;
}

static int stub_set_vf_link_state(struct ib_device *device, int vf, u32 port_num, int state)
{
	struct stub_port *port = stub_vf(device, vf);

	if (!port || state < IFLA_VF_LINK_STATE_AUTO || state > IFLA_VF_LINK_STATE_DISABLE)
		return -EINVAL;
	port->link_policy = state;
	mutex_lock(&stub_lock);
	if (port->bound)
		stub_state_event(port->bound);
	mutex_unlock(&stub_lock);
	return 0;
}

/* ---- Operations that must be there and have nothing to do ----------------------------- */

static int stub_alloc_ucontext(struct ib_ucontext *context, struct ib_udata *udata)
{
	return 0;
}

/* Also to disassociate: nothing of the device is mapped into processes. */
static void stub_end_ucontext(struct ib_ucontext *context)
{
}

static int stub_pd(struct ib_pd *pd, struct ib_udata *udata)
{
	return 0;
}

static int stub_create_ah(struct ib_ah *ah, struct rdma_ah_init_attr *init, struct ib_udata *udata)
{
	return 0;
}

/* ib_mad takes an answer for that of a request by its address: here all have the same. */
static int stub_query_ah(struct ib_ah *ah, struct rdma_ah_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	return 0;
}

static int stub_destroy_ah(struct ib_ah *ah, u32 flags)
{
	return 0;
}

/* Whoever opens an issm node has the port say that a subnet manager is here. */
static int stub_modify_port(struct ib_device *device, u32 port_num, int mask,
			    struct ib_port_modify *modify)
{
	return 0;
}

static int stub_mcast(struct ib_qp *qp, union ib_gid *gid, u16 lid)
{
	return 0;
}

/* ib_core asks for no memory region: it has the local key, and processes have no queues. */
static struct ib_mr *stub_get_dma_mr(struct ib_pd *pd, int access)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static struct ib_mr *stub_reg_user_mr(struct ib_pd *pd, u64 start, u64 length, u64 virt_addr,
				      int access, STUB_DMAH struct ib_udata *udata)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static int stub_dereg_mr(struct ib_mr *mr, struct ib_udata *udata)
{
	return 0;
}

/* ---- The device ----------------------------------------------------------------------- */

static const struct ib_device_ops stub_ops = {
	.owner = THIS_MODULE,
	/* libibverbs wants a name it knows, with an ABI it knows: a software device's. */
	.driver_id = RDMA_DRIVER_RXE,
	.uverbs_abi_ver = 2,
	.device_group = &stub_ib_group,
	.alloc_pd = stub_pd,
	.alloc_ucontext = stub_alloc_ucontext,
	.attach_mcast = stub_mcast,
	.create_ah = stub_create_ah,
	.dealloc_pd = stub_pd,
	.dealloc_ucontext = stub_end_ucontext,
	.dereg_mr = stub_dereg_mr,
	.destroy_ah = stub_destroy_ah,
	.detach_mcast = stub_mcast,
	.disassociate_ucontext = stub_end_ucontext,
	.get_dev_fw_str = stub_fw_str,
	.get_dma_mr = stub_get_dma_mr,
	.get_port_immutable = stub_port_immutable,
	.get_vf_config = stub_get_vf_config,
	.get_vf_guid = stub_get_vf_guid,
	.modify_port = stub_modify_port,
	.process_mad = stub_process_mad,
	.query_ah = stub_query_ah,
	.query_device = stub_query_device,
	.query_gid = stub_query_gid,
	.query_pkey = stub_query_pkey,
	.query_port = stub_query_port,
	.reg_user_mr = stub_reg_user_mr,
	.set_vf_guid = stub_set_vf_guid,
	.set_vf_link_state = stub_set_vf_link_state,
	.size_ib_ah = sizeof(struct ib_ah),
	.size_ib_pd = sizeof(struct ib_pd),
	.size_ib_ucontext = sizeof(struct ib_ucontext),
};

/* Let the function look like an HCA's; the configuration space stays what QEMU made it. */
static void stub_dress(struct pci_dev *pdev)
{
	pdev->vendor = STUB_VENDOR;
	pdev->device = pdev->is_virtfn ? STUB_VF : STUB_PF;
	pdev->subsystem_vendor = STUB_VENDOR;
	pdev->subsystem_device = 0x0007;
	pdev->class = 0x020700; /* InfiniBand controller */
}

/* Find a function's port: a PF brings its own and its VFs', a VF has one of its PF's. */
static int stub_attach(struct stub_device *stub)
{
	struct stub_device *pf = pci_get_drvdata(pci_physfn(stub->pdev));
	u16 lid = stub->pdev->bus->number;
	u64 guid = 0x0c42a10300000000ULL | (u64)lid << 16;
	int i, vf = pci_iov_vf_id(stub->pdev);

	if (stub->pdev->is_virtfn) {
		if (!pf || vf < 0 || vf >= STUB_MAX_VFS)
			return -ENODEV;
		stub->port = &pf->vfs[vf];
		return 0;
	}
	stub->port = &stub->own;
	stub_port_init(stub->port, guid, lid);
	for (i = 1; i <= STUB_MAX_VFS; i++)
		stub_port_init(&stub->vfs[i - 1], zero_guids ? 0 : guid + i, lid + i);
	return 0;
}

static void stub_bind(struct stub_port *port, struct stub_device *stub)
{
	mutex_lock(&stub_lock);
	port->bound = stub;
	mutex_unlock(&stub_lock);
}

static int stub_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct stub_device *stub = ib_alloc_device(stub_device, ib);
	int err;

	if (!stub)
		return -ENOMEM;
	stub_dress(pdev);
	stub->pdev = pdev;
	atomic_set(&stub->next_qpn, 0x100);
	err = stub_attach(stub);
	if (err)
		goto free;
	ib_set_device_ops(&stub->ib, &stub_ops);
	ib_set_device_ops(&stub->ib, &stub_queue_ops);
	stub->ib.node_type = RDMA_NODE_IB_CA;
	stub->ib.phys_port_cnt = 1;
	stub->ib.num_comp_vectors = 2;
	stub->ib.node_guid = cpu_to_be64(stub->port->node_guid);
	stub->ib.dev.parent = &pdev->dev;
	pci_set_drvdata(pdev, stub);
	/* No DMA device: addresses in work requests are then the kernel's own pointers. */
	err = ib_register_device(&stub->ib, "mlx5_%d", NULL);
	if (err)
		goto free;
	err = stub_tc_add(stub);
	if (err)
		goto unregister;
	stub_bind(stub->port, stub);
	return 0;
unregister:
	kobject_put(stub->tc_port);
	ib_unregister_device(&stub->ib);
free:
	ib_dealloc_device(&stub->ib);
	return err;
}

static void stub_remove(struct pci_dev *pdev)
{
	struct stub_device *stub = pci_get_drvdata(pdev);

	if (!pdev->is_virtfn)
		pci_disable_sriov(pdev);
	stub_bind(stub->port, NULL);
	kobject_put(stub->tc_port);
	ib_unregister_device(&stub->ib);
	ib_dealloc_device(&stub->ib);
}

/* VFs are dressed when they are bound; those that nobody is to bind, here. */
static int stub_sriov_configure(struct pci_dev *pdev, int num_vfs)
{
	int err = pci_sriov_configure_simple(pdev, num_vfs);
	struct pci_dev *vf = NULL;

	while ((vf = pci_get_device(STUB_VENDOR, PCI_ANY_ID, vf)))
		if (vf->is_virtfn)
			stub_dress(vf);
	return err;
}

static const struct pci_device_id stub_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT, QEMU_NVME) },
	/* A VF has its PF's vendor from the start; dressed, it is known by what it looks like. */
	{ PCI_DEVICE(STUB_VENDOR, QEMU_NVME) },
	{ PCI_DEVICE(STUB_VENDOR, STUB_PF) },
	{ PCI_DEVICE(STUB_VENDOR, STUB_VF) },
	{}
};

static struct pci_driver stub_driver = {
	.name = "mlx5_core",
	.id_table = stub_ids,
	.probe = stub_probe,
	.remove = stub_remove,
	.sriov_configure = stub_sriov_configure,
	.dev_groups = stub_pci_groups,
};
module_pci_driver(stub_driver);

MODULE_DESCRIPTION("An InfiniBand HCA without a wire, for tests");
MODULE_LICENSE("Dual BSD/GPL");
