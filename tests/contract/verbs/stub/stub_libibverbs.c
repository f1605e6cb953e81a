/*
 * A libibverbs.so.1 without a kernel below it, for the contract tests.
 *
 * Tests describe the machine through the stub_* functions; the driver under test sees
 * the ibv_* functions, which count what they hand out and take back.
 *
 * RDMA_CORE is the release it imitates:
 *   44  struct ibv_port_attr of 52 bytes, no ibv_query_port_speed
 *   62  struct ibv_port_attr of 56 bytes (active_speed_ex), ibv_query_port_speed
 * In either, ibv_query_port as exported copies the frozen 48 bytes and not one more.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef RDMA_CORE
#error "say which release to imitate: -DRDMA_CORE=44"
#endif

enum { MAX_DEVICES = 16, MAX_PORTS = 4, MAX_CONTEXTS = 64, COMPAT_PORT_ATTR = 48, NDR = 128 };

struct ibv_port_attr {
	uint32_t state, max_mtu, active_mtu;
	int32_t gid_tbl_len;
	uint32_t port_cap_flags, max_msg_sz, bad_pkey_cntr, qkey_viol_cntr;
	uint16_t pkey_tbl_len, lid, sm_lid;
	uint8_t lmc, max_vl_num, sm_sl, subnet_timeout, init_type_reply;
	uint8_t active_width, active_speed, phys_state, link_layer, flags;
	uint16_t port_cap_flags2;
#if RDMA_CORE >= 49
	uint32_t active_speed_ex;
#endif
};

struct ibv_device_attr {
	char fw_ver[64];
	uint64_t node_guid, sys_image_guid, max_mr_size, page_size_cap;
	uint32_t limits[32];
	uint16_t max_pkeys;
	uint8_t local_ca_ack_delay, phys_port_cnt;
};

#if RDMA_CORE >= 49
_Static_assert(sizeof(struct ibv_port_attr) == 56, "layout since 49");
#else
_Static_assert(sizeof(struct ibv_port_attr) == 52, "layout before 49");
#endif
_Static_assert(offsetof(struct ibv_port_attr, link_layer) == 46, "layout");
_Static_assert(sizeof(struct ibv_device_attr) == 232, "layout");
_Static_assert(offsetof(struct ibv_device_attr, phys_port_cnt) == 227, "layout");

struct stub_port {
	struct ibv_port_attr attr;
	uint8_t gid[16];
	uint64_t speed;
	int query_errno, gid_errno, speed_errno;
};

struct ibv_device {
	char name[64], firmware[64];
	uint64_t guid;
	int ports, open_errno, query_errno, async_errno, present;
	struct stub_port port[MAX_PORTS];
};

struct ibv_context {
	struct ibv_device *device;
	void *ops[32];
	int cmd_fd, async_fd;
};

/* As the kernel's: what is read from async_fd. */
struct ibv_async_event {
	union { void *object; int port_num; } element;
	uint32_t event_type;
};

_Static_assert(offsetof(struct ibv_context, async_fd) == 268, "layout");
_Static_assert(sizeof(struct ibv_async_event) == 16, "layout");
_Static_assert(offsetof(struct ibv_async_event, event_type) == 8, "layout");

static struct ibv_device devices[MAX_DEVICES];
static int device_count, list_errno;
static struct ibv_context *open_contexts[MAX_CONTEXTS];
static int lists, contexts, unacknowledged;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void count(int *what, int change)
{
	pthread_mutex_lock(&lock);
	*what += change;
	pthread_mutex_unlock(&lock);
}

/* What the tests say. */

void stub_reset(void)
{
	memset(devices, 0, sizeof(devices));
	memset(open_contexts, 0, sizeof(open_contexts));
	device_count = list_errno = lists = contexts = unacknowledged = 0;
}

void stub_refuse_list(int code) { list_errno = code; }

int stub_add_device(const char *name, uint64_t guid, const char *firmware, int ports)
{
	struct ibv_device *device = &devices[device_count];

	if (device_count == MAX_DEVICES || ports > MAX_PORTS)
		return -1;
	strncpy(device->name, name, sizeof(device->name) - 1);
	strncpy(device->firmware, firmware, sizeof(device->firmware));
	device->guid = guid;
	device->ports = ports;
	device->present = 1;
	return device_count++;
}

void stub_remove_device(int device) { devices[device].present = 0; }
void stub_refuse_open(int device, int code) { devices[device].open_errno = code; }
void stub_refuse_device(int device, int code) { devices[device].query_errno = code; }

static struct stub_port *port_of(int device, int port) { return &devices[device].port[port - 1]; }

void stub_refuse_port(int device, int port, int code) { port_of(device, port)->query_errno = code; }
void stub_refuse_gid(int device, int port, int code) { port_of(device, port)->gid_errno = code; }
void stub_refuse_speed(int device, int port, int code) { port_of(device, port)->speed_errno = code; }

/* `speed` is the true code: what the eight bits of active_speed make of it is decided here. */
void stub_set_port(int device, int port, int state, int phys_state, int link_layer, int mtu,
		   int lid, int sm_lid, int speed, int width, uint64_t hundred_mbps,
		   const uint8_t *gid)
{
	struct stub_port *it = port_of(device, port);

	/* Whatever we do not set is nonsense, so that nobody reads it unnoticed. */
	memset(&it->attr, 0xa5, sizeof(it->attr));
	it->attr.state = state;
	it->attr.active_mtu = mtu;
	it->attr.lid = lid;
	it->attr.sm_lid = sm_lid;
	it->attr.active_width = width;
	it->attr.active_speed = speed > NDR ? NDR : speed;
	it->attr.phys_state = phys_state;
	it->attr.link_layer = link_layer;
#if RDMA_CORE >= 49
	it->attr.active_speed_ex = speed > NDR ? speed : 0;
#endif
	it->speed = hundred_mbps;
	memcpy(it->gid, gid, sizeof(it->gid));
}

int stub_lists(void) { return lists; }
int stub_contexts(void) { return contexts; }
int stub_unacknowledged(void) { return unacknowledged; }

/* Raise an event in every open context of a device, whose cmd_fd is async_fd's other end. */
void stub_tell(int device, int event, int port)
{
	struct ibv_async_event it = { .event_type = event };
	int i;

	it.element.port_num = port;
	for (i = 0; i < MAX_CONTEXTS; i++)
		if (open_contexts[i] && open_contexts[i]->device == &devices[device])
			if (write(open_contexts[i]->cmd_fd, &it, sizeof(it)) != sizeof(it))
				abort();
}

/* Have no more to read but an error. */
void stub_silence(int device, int code)
{
	int i;

	devices[device].async_errno = code;
	for (i = 0; i < MAX_CONTEXTS; i++)
		if (open_contexts[i] && open_contexts[i]->device == &devices[device]) {
			close(open_contexts[i]->cmd_fd);
			open_contexts[i]->cmd_fd = -1;
		}
}

/* What the driver calls. */

struct ibv_device **ibv_get_device_list(int *num)
{
	struct ibv_device **list;
	int i, n = 0;

	if (num)
		*num = 0;
	if (list_errno) {
		errno = list_errno;
		return NULL;
	}
	list = calloc(device_count + 1, sizeof(*list));
	if (!list)
		return NULL;
	for (i = 0; i < device_count; i++)
		if (devices[i].present)
			list[n++] = &devices[i];
	if (num)
		*num = n;
	count(&lists, 1);
	return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
	count(&lists, -1);
	free(list);
}

const char *ibv_get_device_name(struct ibv_device *device) { return device->name; }

uint64_t ibv_get_device_guid(struct ibv_device *device)
{
	uint32_t half[2] = { htonl(device->guid >> 32), htonl((uint32_t)device->guid) };
	uint64_t guid;

	memcpy(&guid, half, sizeof(guid));
	return guid;
}

static void remember(struct ibv_context *old, struct ibv_context *new)
{
	int i = 0;

	pthread_mutex_lock(&lock);
	while (open_contexts[i] != old)
		if (++i == MAX_CONTEXTS)
			abort();
	open_contexts[i] = new;
	pthread_mutex_unlock(&lock);
}

struct ibv_context *ibv_open_device(struct ibv_device *device)
{
	struct ibv_context *context;
	int ends[2];

	if (device->open_errno) {
		errno = device->open_errno;
		return NULL;
	}
	context = calloc(1, sizeof(*context));
	if (!context || pipe(ends)) {
		free(context);
		return NULL;
	}
	context->device = device;
	context->async_fd = ends[0];
	context->cmd_fd = ends[1];
	remember(NULL, context);
	count(&contexts, 1);
	return context;
}

int ibv_close_device(struct ibv_context *context)
{
	count(&contexts, -1);
	remember(context, NULL);
	close(context->async_fd);
	if (context->cmd_fd >= 0)
		close(context->cmd_fd);
	free(context);
	return 0;
}

int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event)
{
	ssize_t length;

	memset(event, 0xa5, sizeof(*event));
	length = read(context->async_fd, event, sizeof(*event));
	if (length != sizeof(*event)) {
		if (length >= 0)
			errno = context->device->async_errno;
		return -1;
	}
	count(&unacknowledged, 1);
	return 0;
}

void ibv_ack_async_event(struct ibv_async_event *event)
{
	(void)event;
	count(&unacknowledged, -1);
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	if (context->device->query_errno)
		return context->device->query_errno;
	memset(attr, 0xa5, sizeof(*attr));
	memcpy(attr->fw_ver, context->device->firmware, sizeof(attr->fw_ver));
	attr->phys_port_cnt = context->device->ports;
	return 0;
}

/* What the inline function in <infiniband/verbs.h> reaches: all of the structure. */
static int query_port(struct ibv_context *context, int port, void *attr, size_t size)
{
	struct stub_port *it;

	if (port < 1 || port > context->device->ports)
		return EINVAL;
	it = &context->device->port[port - 1];
	if (it->query_errno)
		return it->query_errno;
	memcpy(attr, &it->attr, size < sizeof(it->attr) ? size : sizeof(it->attr));
	return 0;
}

int ibv_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
	return query_port(context, port, attr, COMPAT_PORT_ATTR);
}

int ibv_query_gid(struct ibv_context *context, uint8_t port, int index, uint8_t *gid)
{
	struct stub_port *it;

	if (port < 1 || port > context->device->ports || index != 0) {
		errno = EINVAL;
		return -1;
	}
	it = &context->device->port[port - 1];
	if (it->gid_errno) {
		errno = it->gid_errno;
		return -1;
	}
	memcpy(gid, it->gid, sizeof(it->gid));
	return 0;
}

#if RDMA_CORE >= 62
int ibv_query_port_speed(struct ibv_context *context, uint32_t port, uint64_t *speed)
{
	struct stub_port *it;

	if (port < 1 || port > (uint32_t)context->device->ports)
		return EINVAL;
	it = &context->device->port[port - 1];
	if (it->speed_errno)
		return it->speed_errno;
	*speed = it->speed;
	return 0;
}
#endif
