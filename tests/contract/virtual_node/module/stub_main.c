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
 * Knobs, on the PCI function in sysfs:
 *   stub_port_state  DOWN, INIT, ARMED or ACTIVE
 *   stub_pkeys       the port's pkey table, as hexadecimal numbers; what is left out is 0
 * A VF's GUIDs and link state are set through its PF's netdev, as for a real HCA; the GUIDs
 * take effect when the VF is bound the next time.
 */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <rdma/ib_mad.h>
#include "stub_hca.h"

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

static void stub_event(struct stub_device *stub, enum ib_event_type type)
{
	struct ib_event event = {
		.device = &stub->ib,
		.event = type,
		.element.port_num = 1,
	};

	ib_dispatch_event(&event);
}

static void stub_state_event(struct stub_device *stub)
{
	stub_event(stub, stub_state(stub->port) == IB_PORT_ACTIVE ? IB_EVENT_PORT_ACTIVE :
								     IB_EVENT_PORT_ERR);
}

static const char *const stub_states[] = {
	[IB_PORT_DOWN] = "DOWN",
	[IB_PORT_INIT] = "INIT",
	[IB_PORT_ARMED] = "ARMED",
	[IB_PORT_ACTIVE] = "ACTIVE",
};

static ssize_t stub_port_state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct stub_device *stub = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%s\n", stub_states[stub_state(stub->port)]);
}

static ssize_t stub_port_state_store(struct device *dev, struct device_attribute *attr,
				     const char *buf, size_t count)
{
	struct stub_device *stub = dev_get_drvdata(dev);
	int state;

	for (state = IB_PORT_DOWN; state <= IB_PORT_ACTIVE; state++) {
		if (!sysfs_streq(buf, stub_states[state]))
			continue;
		stub->port->state = state;
		stub_state_event(stub);
		return count;
	}
	return -EINVAL;
}
static DEVICE_ATTR_RW(stub_port_state);

static ssize_t stub_pkeys_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct stub_device *stub = dev_get_drvdata(dev);
	ssize_t length = 0;
	int i;

	for (i = 0; i < STUB_PKEYS; i++)
		if (stub->port->pkeys[i])
			length += sysfs_emit_at(buf, length, "0x%04x ", stub->port->pkeys[i]);
	return length + sysfs_emit_at(buf, length, "\n");
}

static ssize_t stub_pkeys_store(struct device *dev, struct device_attribute *attr,
				const char *buf, size_t count)
{
	struct stub_device *stub = dev_get_drvdata(dev);
	u16 pkeys[STUB_PKEYS] = {};
	char *copy, *rest, *word;
	int n = 0, err = 0;

	copy = kstrndup(buf, count, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	rest = strim(copy);
	while (!err && (word = strsep(&rest, " \t\n"))) {
		if (!*word)
			continue;
		err = n < STUB_PKEYS ? kstrtou16(word, 16, &pkeys[n++]) : -E2BIG;
	}
	kfree(copy);
	if (err)
		return err;
	memcpy(stub->port->pkeys, pkeys, sizeof(pkeys));
	stub_event(stub, IB_EVENT_PKEY_CHANGE);
	return count;
}
static DEVICE_ATTR_RW(stub_pkeys);

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

static ssize_t hw_rev_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "0\n");
}
static DEVICE_ATTR_RO(hw_rev);

static ssize_t board_id_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "MT_0000000223\n");
}
static DEVICE_ATTR_RO(board_id);

static struct attribute *stub_ib_attrs[] = {
	&dev_attr_hca_type.attr,
	&dev_attr_hw_rev.attr,
	&dev_attr_board_id.attr,
	NULL,
};

static const struct attribute_group stub_ib_group = {
	.attrs = stub_ib_attrs,
};

/* tc/1/traffic_class, which the vendor's own driver package adds to the mainline's files. */
static struct stub_device *stub_of_tc_port(struct kobject *tc_port)
{
	return to_stub(container_of(tc_port->parent->parent, struct ib_device, dev.kobj));
}

static ssize_t traffic_class_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	struct stub_device *stub = stub_of_tc_port(kobj);

	return stub->traffic_class < 0 ? 0 : sysfs_emit(buf, "Global tclass=%d\n",
							stub->traffic_class);
}

static ssize_t traffic_class_store(struct kobject *kobj, struct kobj_attribute *attr,
				   const char *buf, size_t count)
{
	int value, err = kstrtoint(buf, 10, &value);

	if (err || value < -1 || value > 255)
		return -EINVAL;
	stub_of_tc_port(kobj)->traffic_class = value;
	return count;
}

static struct kobj_attribute stub_traffic_class = __ATTR_RW(traffic_class);

static void stub_tc_remove(struct stub_device *stub)
{
	kobject_put(stub->tc_port);
	kobject_put(stub->tc);
}

static int stub_tc_add(struct stub_device *stub)
{
	stub->traffic_class = -1;
	stub->tc = kobject_create_and_add("tc", &stub->ib.dev.kobj);
	if (!stub->tc)
		return -ENOMEM;
	stub->tc_port = kobject_create_and_add("1", stub->tc);
	if (!stub->tc_port || sysfs_create_file(stub->tc_port, &stub_traffic_class.attr)) {
		stub_tc_remove(stub);
		return -ENOMEM;
	}
	return 0;
}

/* ---- Queries -------------------------------------------------------------------------- */

static int stub_query_device(struct ib_device *device, struct ib_device_attr *attr,
			     struct ib_udata *udata)
{
	struct stub_device *stub = to_stub(device);

	memset(attr, 0, sizeof(*attr));
	attr->fw_ver = (20ULL << 32) | (35 << 16) | 1012;
	attr->sys_image_guid = cpu_to_be64(STUB_GUID_BASE | ((u64)stub->pdev->bus->number << 16));
	attr->vendor_id = 0x02c9;
	attr->vendor_part_id = stub->pdev->device;
	attr->max_mr_size = ~0ULL;
	attr->page_size_cap = PAGE_SIZE;
	attr->max_qp = 1 << 16;
	attr->max_qp_wr = 1 << 14;
	attr->max_send_sge = 32;
	attr->max_recv_sge = 32;
	attr->max_cq = 1 << 16;
	attr->max_cqe = 1 << 20;
	attr->max_mr = 1 << 16;
	attr->max_pd = 1 << 16;
	attr->max_ah = 1 << 16;
	attr->max_mcast_grp = 1 << 14;
	attr->max_mcast_qp_attach = 256;
	attr->max_total_mcast_qp_attach = 1 << 20;
	attr->max_pkeys = STUB_PKEYS;
	attr->kernel_cap_flags = IBK_LOCAL_DMA_LKEY;
	if (stub->pdev->is_virtfn)
		attr->kernel_cap_flags |= IBK_VIRTUAL_FUNCTION;
	return 0;
}

static void stub_fw_str(struct ib_device *device, char *str)
{
	snprintf(str, IB_FW_VERSION_NAME_MAX, "20.35.1012");
}

static int stub_query_port(struct ib_device *device, u32 port_num, struct ib_port_attr *attr)
{
	struct stub_device *stub = to_stub(device);

	attr->state = stub_state(stub->port);
	attr->phys_state = attr->state == IB_PORT_DOWN ? IB_PORT_PHYS_STATE_POLLING :
							 IB_PORT_PHYS_STATE_LINK_UP;
	attr->lid = attr->state == IB_PORT_DOWN ? 0xffff : stub->port->lid;
	attr->sm_lid = STUB_SM_LID;
	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = IB_MTU_4096;
	attr->gid_tbl_len = STUB_GIDS;
	attr->pkey_tbl_len = STUB_PKEYS;
	attr->port_cap_flags = stub->capabilities;
	attr->max_msg_sz = 1 << 30;
	attr->max_vl_num = 4;
	attr->subnet_timeout = 18;
	attr->active_width = IB_WIDTH_4X;
	attr->active_speed = IB_SPEED_HDR;
	return 0;
}

static int stub_modify_port(struct ib_device *device, u32 port_num, int mask,
			    struct ib_port_modify *modify)
{
	struct stub_device *stub = to_stub(device);

	/* Whoever opens the issm node says that a subnet manager is here. */
	stub->capabilities |= modify->set_port_cap_mask & STUB_SM_BIT;
	stub->capabilities &= ~(modify->clr_port_cap_mask & STUB_SM_BIT);
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
	gid->global.subnet_prefix = cpu_to_be64(STUB_FE80);
	gid->global.interface_id = index ? 0 : cpu_to_be64(to_stub(device)->port->port_guid);
	return 0;
}

static int stub_query_pkey(struct ib_device *device, u32 port_num, u16 index, u16 *pkey)
{
	if (index >= STUB_PKEYS)
		return -EINVAL;
	*pkey = to_stub(device)->port->pkeys[index];
	return 0;
}

/* ---- A PF's say over its VFs ---------------------------------------------------------- */

static struct stub_port *stub_vf(struct ib_device *device, int vf)
{
	struct stub_device *stub = to_stub(device);

	return vf >= 0 && vf < pci_num_vf(stub->pdev) && vf < STUB_MAX_VFS ? &stub->vfs[vf] : NULL;
}

static int stub_set_vf_guid(struct ib_device *device, int vf, u32 port_num, u64 guid, int type)
{
	struct stub_port *port = stub_vf(device, vf);

	if (!port)
		return -EINVAL;
	if (type == IFLA_VF_IB_NODE_GUID)
		port->node_guid = guid;
	else if (type == IFLA_VF_IB_PORT_GUID)
		port->port_guid = guid;
	else
		return -EINVAL;
	return 0;
}

static int stub_get_vf_guid(struct ib_device *device, int vf, u32 port_num,
			    struct ifla_vf_guid *node_guid, struct ifla_vf_guid *port_guid)
{
	struct stub_port *port = stub_vf(device, vf);

	if (!port)
		return -EINVAL;
	node_guid->guid = port->node_guid;
	port_guid->guid = port->port_guid;
	return 0;
}

static int stub_get_vf_config(struct ib_device *device, int vf, u32 port_num,
			      struct ifla_vf_info *info)
{
	struct stub_port *port = stub_vf(device, vf);

	if (!port)
		return -EINVAL;
	memset(info, 0, sizeof(*info));
	info->vf = vf;
	info->linkstate = port->link_policy;
	return 0;
}

static int stub_set_vf_link_state(struct ib_device *device, int vf, u32 port_num, int state)
{
	struct stub_port *port = stub_vf(device, vf);

	if (!port || state < IFLA_VF_LINK_STATE_AUTO || state > IFLA_VF_LINK_STATE_DISABLE)
		return -EINVAL;
	port->link_policy = state;
	mutex_lock(&stub_lock);
	if (to_stub(device)->bound[vf])
		stub_state_event(to_stub(device)->bound[vf]);
	mutex_unlock(&stub_lock);
	return 0;
}

/* ---- Objects without a behaviour ------------------------------------------------------ */

static int stub_alloc_ucontext(struct ib_ucontext *context, struct ib_udata *udata)
{
	return 0;
}

static void stub_dealloc_ucontext(struct ib_ucontext *context)
{
}

/* Nothing of the device is mapped into processes: there is nothing to take away from them. */
static void stub_disassociate_ucontext(struct ib_ucontext *context)
{
}

static int stub_alloc_pd(struct ib_pd *pd, struct ib_udata *udata)
{
	return 0;
}

static int stub_dealloc_pd(struct ib_pd *pd, struct ib_udata *udata)
{
	return 0;
}

static int stub_create_ah(struct ib_ah *ah, struct rdma_ah_init_attr *init, struct ib_udata *udata)
{
	to_ah(ah)->attr = *init->ah_attr;
	/* ib_core keeps its own reference of this; a second one would outlive it. */
	to_ah(ah)->attr.grh.sgid_attr = NULL;
	return 0;
}

static int stub_query_ah(struct ib_ah *ah, struct rdma_ah_attr *attr)
{
	*attr = to_ah(ah)->attr;
	return 0;
}

static int stub_destroy_ah(struct ib_ah *ah, u32 flags)
{
	return 0;
}

static struct ib_mr *stub_new_mr(struct ib_pd *pd)
{
	struct ib_mr *mr = kzalloc(sizeof(*mr), GFP_KERNEL);

	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->lkey = atomic_inc_return(&to_stub(pd->device)->next_key);
	mr->rkey = mr->lkey;
	return mr;
}

static struct ib_mr *stub_get_dma_mr(struct ib_pd *pd, int access)
{
	return stub_new_mr(pd);
}

static struct ib_mr *stub_reg_user_mr(struct ib_pd *pd, u64 start, u64 length, u64 virt_addr,
				      int access, struct ib_udata *udata)
{
	return stub_new_mr(pd);
}

static int stub_dereg_mr(struct ib_mr *mr, struct ib_udata *udata)
{
	kfree(mr);
	return 0;
}

static int stub_mcast(struct ib_qp *qp, union ib_gid *gid, u16 lid)
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
	.alloc_pd = stub_alloc_pd,
	.alloc_ucontext = stub_alloc_ucontext,
	.attach_mcast = stub_mcast,
	.create_ah = stub_create_ah,
	.create_user_ah = stub_create_ah,
	.dealloc_pd = stub_dealloc_pd,
	.dealloc_ucontext = stub_dealloc_ucontext,
	.dereg_mr = stub_dereg_mr,
	.destroy_ah = stub_destroy_ah,
	.detach_mcast = stub_mcast,
	.disassociate_ucontext = stub_disassociate_ucontext,
	.get_dev_fw_str = stub_fw_str,
	.get_dma_mr = stub_get_dma_mr,
	.get_port_immutable = stub_port_immutable,
	.modify_port = stub_modify_port,
	.process_mad = stub_process_mad,
	.query_ah = stub_query_ah,
	.query_device = stub_query_device,
	.query_gid = stub_query_gid,
	.query_pkey = stub_query_pkey,
	.query_port = stub_query_port,
	.reg_user_mr = stub_reg_user_mr,
	INIT_RDMA_OBJ_SIZE(ib_ah, stub_ah, ib),
	.size_ib_pd = sizeof(struct ib_pd),
	.size_ib_ucontext = sizeof(struct ib_ucontext),
};

static const struct ib_device_ops stub_pf_ops = {
	.get_vf_config = stub_get_vf_config,
	.get_vf_guid = stub_get_vf_guid,
	.set_vf_guid = stub_set_vf_guid,
	.set_vf_link_state = stub_set_vf_link_state,
};

/* Let the function look like an HCA's; the configuration space stays what QEMU made it. */
static void stub_dress(struct pci_dev *pdev)
{
	pdev->vendor = STUB_VENDOR;
	pdev->device = pdev->is_virtfn ? STUB_VF : STUB_PF;
	pdev->subsystem_vendor = STUB_VENDOR;
	pdev->subsystem_device = 0x0007;
	pdev->class = STUB_CLASS;
}

static int stub_attach(struct stub_device *stub)
{
	struct pci_dev *pdev = stub->pdev;
	u64 guid = STUB_GUID_BASE | ((u64)pdev->bus->number << 16);
	struct stub_device *pf;
	int i, vf;

	if (!pdev->is_virtfn) {
		stub->port = &stub->own;
		stub_port_init(stub->port, guid, pdev->bus->number);
		for (i = 0; i < STUB_MAX_VFS; i++)
			stub_port_init(&stub->vfs[i], guid + i + 1, pdev->bus->number + i + 1);
		return 0;
	}
	pf = pci_get_drvdata(pci_physfn(pdev));
	vf = pci_iov_vf_id(pdev);
	if (!pf || vf < 0 || vf >= STUB_MAX_VFS)
		return -ENODEV;
	stub->port = &pf->vfs[vf];
	return 0;
}

static void stub_bind_vf(struct stub_device *stub, struct stub_device *value)
{
	struct stub_device *pf;

	if (!stub->pdev->is_virtfn)
		return;
	pf = pci_get_drvdata(pci_physfn(stub->pdev));
	mutex_lock(&stub_lock);
	pf->bound[pci_iov_vf_id(stub->pdev)] = value;
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
	stub->capabilities = STUB_CAPABILITIES;
	atomic_set(&stub->next_qpn, 0x100);
	err = stub_attach(stub);
	if (err)
		goto free;
	ib_set_device_ops(&stub->ib, &stub_ops);
	ib_set_device_ops(&stub->ib, &stub_queue_ops);
	if (!pdev->is_virtfn)
		ib_set_device_ops(&stub->ib, &stub_pf_ops);
	stub->ib.node_type = RDMA_NODE_IB_CA;
	stub->ib.phys_port_cnt = 1;
	stub->ib.num_comp_vectors = 2;
	stub->ib.node_guid = cpu_to_be64(stub->port->node_guid);
	stub->ib.dev.parent = &pdev->dev;
	snprintf(stub->ib.node_desc, sizeof(stub->ib.node_desc), "stub_hca %s", pci_name(pdev));
	pci_set_drvdata(pdev, stub);
	/* No DMA device: addresses in work requests are then the kernel's own pointers. */
	err = ib_register_device(&stub->ib, "mlx5_%d", NULL);
	if (err)
		goto free;
	err = stub_tc_add(stub);
	if (err)
		goto unregister;
	stub_bind_vf(stub, stub);
	return 0;
unregister:
	ib_unregister_device(&stub->ib);
free:
	pci_set_drvdata(pdev, NULL);
	ib_dealloc_device(&stub->ib);
	return err;
}

static void stub_remove(struct pci_dev *pdev)
{
	struct stub_device *stub = pci_get_drvdata(pdev);

	if (!pdev->is_virtfn)
		pci_disable_sriov(pdev);
	stub_bind_vf(stub, NULL);
	stub_tc_remove(stub);
	ib_unregister_device(&stub->ib);
	pci_set_drvdata(pdev, NULL);
	ib_dealloc_device(&stub->ib);
}

static const struct pci_device_id stub_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT, QEMU_NVME) },
	/* Once dressed, a function is matched by what it looks like. */
	{ PCI_DEVICE(STUB_VENDOR, STUB_PF) },
	{ PCI_DEVICE(STUB_VENDOR, STUB_VF) },
	{}
};
MODULE_DEVICE_TABLE(pci, stub_ids);

static struct pci_driver stub_driver = {
	.name = "mlx5_core",
	.id_table = stub_ids,
	.probe = stub_probe,
	.remove = stub_remove,
	.sriov_configure = pci_sriov_configure_simple,
	.dev_groups = stub_pci_groups,
};

/* A VF must be dressed before anybody sees it, also if no driver is to bind it. */
static int stub_pci_event(struct notifier_block *block, unsigned long event, void *data)
{
	struct pci_dev *pdev = to_pci_dev((struct device *)data);

	if (event == BUS_NOTIFY_ADD_DEVICE && pdev->is_virtfn &&
	    pci_physfn(pdev)->driver == &stub_driver)
		stub_dress(pdev);
	return NOTIFY_DONE;
}

static struct notifier_block stub_pci_notifier = {
	.notifier_call = stub_pci_event,
};

static int __init stub_init(void)
{
	int err = bus_register_notifier(&pci_bus_type, &stub_pci_notifier);

	if (err)
		return err;
	err = pci_register_driver(&stub_driver);
	if (err)
		bus_unregister_notifier(&pci_bus_type, &stub_pci_notifier);
	return err;
}

static void __exit stub_exit(void)
{
	pci_unregister_driver(&stub_driver);
	bus_unregister_notifier(&pci_bus_type, &stub_pci_notifier);
}

module_init(stub_init);
module_exit(stub_exit);
MODULE_DESCRIPTION("An InfiniBand HCA without a wire, for tests");
MODULE_LICENSE("Dual BSD/GPL");
