/*
 * The daemon's mark: "this claim is attached to that network namespace, with those nodes".
 *
 * Why: a namespace's inode is given to the next one when it is dead, and a file may be from
 * before a reboot or from anybody.  So boot id, namespace (device, inode and the cookie that
 * the kernel gives once a boot), device numbers and the file's owner must all be right.
 */
#ifndef IBDRA_MARK_H
#define IBDRA_MARK_H

#include <stdbool.h>
#include <sys/types.h>

#define NODES_MOST 4000 /* bytes of a list of device numbers */

/*
 * Tell whether the daemon left word that the claim is in this process' namespace.  False for
 * all that is not exactly so.  May leave this process in the other network namespace; a
 * socket's path is the same in all of them.
 */
bool is_marked(const char *folder_path, const char *claim, const char *nodes, pid_t pid);

#endif
