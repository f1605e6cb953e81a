"""What we declare of libibverbs, and the generator of the module that holds it.

Why: cffi needs C declarations at run time, and parsing them costs 40 ms and a C parser.
Its out-of-line ABI mode parses them once, here, and writes :mod:`_libibverbs_cdef`: plain
Python, so the wheel needs no compiler and fits every architecture.

Run ``python -m ibdra_adapters.verbs.build_cdef`` after changing :data:`DECLARATIONS`.

Only functions that libibverbs.so.1 exports under a public version, and only structures
whose layout that version freezes.  ``verbs_context`` and its operations are reached from
C by inline functions that know the layout of one rdma-core release; they are not for us.
"""

from __future__ import annotations

from pathlib import Path

MODULE = "ibdra_adapters.verbs._libibverbs_cdef"
TARGET = Path(__file__).with_name("_libibverbs_cdef.py")

# `ibv_query_port` as exported writes the 48 bytes up to `flags` whatever the release;
# the inline function of the same name in <infiniband/verbs.h> writes 52 or 56.  Headroom
# makes a library that breaks its own promise harmless.
#
# `struct ibv_context` is shown up to `async_fd`, which libibverbs' users are meant to read
# (ibv_get_async_event(3)); in place of its operations stands their room.
DECLARATIONS = """
struct ibv_device;

struct ibv_context {
    struct ibv_device *device;
    void *ops[32];
    int cmd_fd;
    int async_fd;
};

struct ibv_async_event {
    union { void *object; int port_num; } element;
    uint32_t event_type;
    uint64_t headroom[4];
};

struct ibv_device_attr {
    char fw_ver[64];
    uint64_t guids_and_sizes[4];
    uint32_t limits[32];
    uint16_t max_pkeys;
    uint8_t local_ca_ack_delay;
    uint8_t phys_port_cnt;
    uint64_t headroom[16];
};

struct ibv_port_attr {
    uint32_t state;
    uint32_t max_mtu;
    uint32_t active_mtu;
    int32_t gid_tbl_len;
    uint32_t port_cap_flags;
    uint32_t max_msg_sz;
    uint32_t bad_pkey_cntr;
    uint32_t qkey_viol_cntr;
    uint16_t pkey_tbl_len;
    uint16_t lid;
    uint16_t sm_lid;
    uint8_t lmc;
    uint8_t max_vl_num;
    uint8_t sm_sl;
    uint8_t subnet_timeout;
    uint8_t init_type_reply;
    uint8_t active_width;
    uint8_t active_speed;
    uint8_t phys_state;
    uint8_t link_layer;
    uint8_t flags;
    uint8_t headroom[80];
};

struct ibv_device **ibv_get_device_list(int *num_devices);
void ibv_free_device_list(struct ibv_device **list);
const char *ibv_get_device_name(struct ibv_device *device);
uint64_t ibv_get_device_guid(struct ibv_device *device);
struct ibv_context *ibv_open_device(struct ibv_device *device);
int ibv_close_device(struct ibv_context *context);
int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *device_attr);
int ibv_query_port(struct ibv_context *context, uint8_t port_num, struct ibv_port_attr *port_attr);
int ibv_query_gid(struct ibv_context *context, uint8_t port_num, int index, uint8_t *gid);
int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event);
void ibv_ack_async_event(struct ibv_async_event *event);
int ibv_query_port_speed(struct ibv_context *context, uint32_t port_num, uint64_t *port_speed);
"""


def generate(target: Path) -> None:
    """Write the module to ``target``."""
    # Imported here: the C parser is for this function, not for the driver.
    from cffi import FFI  # noqa: PLC0415

    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    ffi.set_source(MODULE, None)
    ffi.emit_python_code(str(target))


if __name__ == "__main__":
    generate(TARGET)
