/* SPDX-License-Identifier: GPL-2.0-only */
/* Mutants of io_uring in one kernel: which one is on, and which have been reached. */
#ifndef RINGRIG_MUTANTS_H
#define RINGRIG_MUTANTS_H

#include <linux/compiler.h>
#include <linux/types.h>

extern u32 ringrig_mutant;
extern u32 ringrig_reached[];

/* Counts without a lock: what was reached once may lose counts, and never falls back to none. */
#define ringrig_at(n)						\
({								\
	WRITE_ONCE(ringrig_reached[n], READ_ONCE(ringrig_reached[n]) + 1 ?: 1); \
	unlikely(READ_ONCE(ringrig_mutant) == (n));		\
})

#endif
