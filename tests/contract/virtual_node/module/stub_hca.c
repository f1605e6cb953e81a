// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/module.h>
MODULE_DESCRIPTION("stub");
MODULE_LICENSE("Dual BSD/GPL");
static int __init x_init(void) { return 0; }
module_init(x_init);
