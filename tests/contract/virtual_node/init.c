// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The guest's first process, until the guest's root is there.
 *
 * Loads the modules of /modules in the order of /modules/order, makes a root from the
 * host's (9p, read-only) with an overlay in memory, and becomes the program that the
 * kernel's command line names after "--". Static: the initramfs holds nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "virtual-node init: %s: %s\n", what, strerror(errno));
	reboot(RB_POWER_OFF);
	exit(1);
}

static void load_modules(void)
{
	FILE *order = fopen("/modules/order", "r");
	char name[128], path[160];

	must(order ? 0 : -1, "/modules/order");
	while (fscanf(order, "%127s", name) == 1) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		must(fd, path);
		must(syscall(SYS_finit_module, fd, "", 0), path);
		close(fd);
	}
	fclose(order);
}

int main(int argc, char **argv)
{
	mkdir("/dev", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	must(argc > 1 ? 0 : -1, "no program after -- on the command line");
	load_modules();
	mkdir("/host", 0755);
	mkdir("/memory", 0755);
	mkdir("/root", 0755);
	must(mount("root", "/host", "9p", MS_RDONLY,
		   "trans=virtio,version=9p2000.L,msize=512000,cache=loose"),
	     "the host's root over 9p");
	must(mount("memory", "/memory", "tmpfs", 0, "size=50%"), "tmpfs");
	mkdir("/memory/upper", 0755);
	mkdir("/memory/work", 0755);
	must(mount("overlay", "/root", "overlay", 0,
		   "lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work"),
	     "overlay");
	must(chdir("/root"), "the new root");
	must(mount(".", "/", NULL, MS_MOVE, NULL), "move to the new root");
	must(chroot("."), "chroot");
	must(chdir("/"), "chdir");
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/tmp", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	execv(argv[1], argv + 1);
	must(-1, argv[1]);
	return 1;
}
