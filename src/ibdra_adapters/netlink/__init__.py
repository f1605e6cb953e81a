"""Namespaces, RDMA devices and network interfaces, as the kernel's netlink shows them.

``fake_kernel`` behaves as the kernel does with what ``fake_devices`` describes, ``fake`` puts
the domain's ports in front of it.
"""
