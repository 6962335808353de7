// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs: ringrig/mutant is the number of the mutant that is on (0: none); ringrig/reached has a u32 for each number,
 * and any write to it makes them all 0.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/string.h>

#include "mutants.h"

u32 ringrig_mutant;
u32 ringrig_reached[RINGRIG_MUTANTS + 1];

static ssize_t reached_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	return simple_read_from_buffer(to, size, at, ringrig_reached, sizeof(ringrig_reached));
}

static ssize_t reached_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	memset(ringrig_reached, 0, sizeof(ringrig_reached));
	return size;
}

static const struct file_operations reached_fops = {
	.read = reached_read,
	.write = reached_write,
	.llseek = default_llseek,
};

static int __init mutants_init(void)
{
	struct dentry *folder = debugfs_create_dir("ringrig", NULL);

	debugfs_create_u32("mutant", 0600, folder, &ringrig_mutant);
	debugfs_create_file("reached", 0600, folder, NULL, &reached_fops);
	return 0;
}
late_initcall(mutants_init);
