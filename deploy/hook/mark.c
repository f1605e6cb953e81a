#define _GNU_SOURCE
#include "mark.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14 */
#endif

#define MARK_MOST (NODES_MOST + 300)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* Read a small file whole, as text; false if it is not there, or not to be trusted. */
static bool read_small(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t got;

	while ((got = read(fd, text + length, size - length)) > 0)
		if ((length += (size_t)got) == size)
			return false;
	text[length] = '\0';
	return got == 0 && strlen(text) == length;
}

static bool is_roots_own(int fd, mode_t type)
{
	struct stat status;

	return fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == type &&
	       status.st_uid == 0 && !(status.st_mode & (S_IWGRP | S_IWOTH));
}

/* The mark as it has to read for a namespace; false where that cannot be said. */
static bool expected_mark(int netns, const char *nodes, char *text, size_t size)
{
	char boot[64];
	struct stat status;
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);
	int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || !read_small(fd, boot, sizeof(boot)) || fstat(netns, &status) < 0)
		return false;
	close(fd);
	boot[strcspn(boot, "\n")] = '\0';
	/* No way back is needed: a socket's path is the same in all network namespaces. */
	if (setns(netns, CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) < 0 ||
	    length != sizeof(cookie) || cookie == 0)
		return false;
	close(fd);
	return snprintf(text, size, "ibdra 1\nboot %s\nnetns %ju %ju %" PRIu64 "\nnodes %s\n",
			boot, (uintmax_t)status.st_dev, (uintmax_t)status.st_ino, cookie,
			nodes) < (int)size;
}

bool is_marked(const char *folder_path, const char *claim, const char *nodes, pid_t pid)
{
	static char mark[MARK_MOST], expected[MARK_MOST];
	char path[64];
	int folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int file, netns;

	if (folder < 0 || !is_roots_own(folder, S_IFDIR))
		return false;
	file = openat(folder, claim, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (file < 0 || !is_roots_own(file, S_IFREG) || !read_small(file, mark, sizeof(mark)))
		return false;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	netns = open(path, O_RDONLY | O_CLOEXEC);
	return netns >= 0 && expected_mark(netns, nodes, expected, sizeof(expected)) &&
	       strcmp(mark, expected) == 0;
}
