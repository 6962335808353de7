// SPDX-License-Identifier: GPL-2.0-only
/*
 * Disasters on demand, for the rig's own tests: write a word to /proc/ringrig_disaster, read it for the list.
 * Load it only into a guest that may be lost.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kfence.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nmi.h>
#include <linux/proc_fs.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#define NAME "ringrig_disaster"

/* Pointers the compiler must not see through, lest it replaces the access by a trap. */
static int *volatile nowhere;
static int *volatile unmapped = (int *)0xffffdead00000000UL;
static int *volatile non_canonical = (int *)0x0dead00000000000UL;

static noinline void say_warn(struct work_struct *work)
{
	WARN(1, NAME ": asked to warn\n");
}

static DECLARE_DELAYED_WORK(late_warning, say_warn);

static noinline void do_panic(unsigned long arg)
{
	panic(NAME ": asked to panic");
}

static noinline void do_null(unsigned long arg)
{
	*nowhere = 1;
}

static noinline void do_oops(unsigned long arg)
{
	*unmapped = 1;
}

static noinline void do_gpf(unsigned long arg)
{
	*non_canonical = 1;
}

static noinline void do_bug(unsigned long arg)
{
	BUG();
}

static noinline void do_warn(unsigned long arg)
{
	say_warn(NULL);
}

static noinline void do_warn_after(unsigned long ms)
{
	schedule_delayed_work(&late_warning, msecs_to_jiffies(ms));
}

static noinline void do_softlockup(unsigned long seconds)
{
	unsigned long end = jiffies + seconds * HZ;

	preempt_disable();
	while (time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
}

static noinline void do_rcu_stall(unsigned long seconds)
{
	unsigned long end = jiffies + seconds * HZ;

	rcu_read_lock();
	while (time_before(jiffies, end)) {
		touch_softlockup_watchdog();
		cpu_relax();
	}
	rcu_read_unlock();
}

static noinline void do_lockup(unsigned long arg)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

static noinline void do_hung(unsigned long seconds)
{
	schedule_timeout_uninterruptible(seconds * HZ);
}

static noinline void do_sleep_in_atomic(unsigned long arg)
{
	/* The scheduler complains and then resets the count itself: enabling here would bring a second complaint. */
	preempt_disable();
	schedule_timeout_uninterruptible(1);
}

static noinline void do_list_corruption(unsigned long arg)
{
	static LIST_HEAD(head);
	static struct list_head first, second, stray;

	INIT_LIST_HEAD(&head);
	list_add(&first, &head);
	first.prev = &stray;
	list_add(&second, &head);
}

static noinline void do_refcount(unsigned long arg)
{
	refcount_t count = REFCOUNT_INIT(0);

	refcount_inc(&count);
}

static noinline void do_double_free(unsigned long arg)
{
	struct kmem_cache *cache;
	void *object;

	cache = kmem_cache_create(NAME, 64, 0, SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE | SLAB_STORE_USER, NULL);
	if (!cache)
		return;
	object = kmem_cache_alloc(cache, GFP_KERNEL);
	kmem_cache_free(cache, object);
	kmem_cache_free(cache, object);
	kmem_cache_destroy(cache);
}

static noinline void do_bad_page(unsigned long arg)
{
	struct page *page = alloc_page(GFP_KERNEL);

	if (!page)
		return;
	page->mapping = (struct address_space *)0x10;
	__free_page(page);
}

static noinline void do_kfence(unsigned long tries)
{
	char *volatile object;
	unsigned long try;

	/* KFENCE guards one allocation per sample interval; find one that it guards. */
	for (try = 0; try < tries; try++) {
		object = kmalloc(64, GFP_KERNEL);
		if (is_kfence_address(object)) {
			kfree(object);
			READ_ONCE(object[0]);
			return;
		}
		kfree(object);
		usleep_range(1000, 2000);
	}
}

static const struct disaster {
	const char *word;
	void (*happen)(unsigned long arg);
	unsigned long arg; /* when none is given */
} disasters[] = {
	{ "panic", do_panic },
	{ "oops", do_oops },
	{ "null", do_null },
	{ "gpf", do_gpf },
	{ "bug", do_bug },
	{ "warn", do_warn },
	{ "warn-after", do_warn_after, 200 },
	{ "softlockup", do_softlockup, 30 },
	{ "rcu-stall", do_rcu_stall, 30 },
	{ "lockup", do_lockup },
	{ "hung", do_hung, 300 },
	{ "sleep-in-atomic", do_sleep_in_atomic },
	{ "list-corruption", do_list_corruption },
	{ "refcount", do_refcount },
	{ "double-free", do_double_free },
	{ "bad-page", do_bad_page },
	{ "kfence", do_kfence, 5000 },
};

static ssize_t disaster_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	char text[64], *word, *rest;
	unsigned long arg;
	size_t i;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, size))
		return -EFAULT;
	text[size] = '\0';
	rest = strim(text);
	word = strsep(&rest, " ");
	for (i = 0; i < ARRAY_SIZE(disasters); i++) {
		if (strcmp(word, disasters[i].word))
			continue;
		arg = disasters[i].arg;
		if (rest && kstrtoul(rest, 10, &arg))
			return -EINVAL;
		disasters[i].happen(arg);
		return size;
	}
	return -EINVAL;
}

static int disaster_show(struct seq_file *out, void *unused)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(disasters); i++)
		seq_printf(out, "%s\n", disasters[i].word);
	return 0;
}

static int disaster_open(struct inode *inode, struct file *file)
{
	return single_open(file, disaster_show, NULL);
}

static const struct proc_ops disaster_ops = {
	.proc_open = disaster_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = disaster_write,
};

static int __init disaster_init(void)
{
	return proc_create(NAME, 0600, NULL, &disaster_ops) ? 0 : -ENOMEM;
}

static void __exit disaster_exit(void)
{
	remove_proc_entry(NAME, NULL);
	cancel_delayed_work_sync(&late_warning);
}

module_init(disaster_init);
module_exit(disaster_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Disasters on demand for ringrig's own tests");
