/*
 * What nops.c offers. cffi reads this file as it is: declarations only, and nothing of the preprocessor.
 */

enum nops_buffers { NOPS_NONE, NOPS_PROVIDED, NOPS_RING };

enum nops_layout { NOPS_MERGED, NOPS_RFC };

/* One row of the table: which request, where its buffers come from, how many are given back at a time (1 or 32). */
struct nops_row {
	uint8_t opcode;
	int32_t fd;
	uint32_t len;
	int32_t buffers;
	int32_t layout;
	int32_t replenish;
};

/* The check that failed; `what` is a constant string, a negative `got` may be an errno. */
struct nops_fault {
	const char *what;
	int64_t got;
	int64_t wanted;
};

struct nops *nops_open(const struct nops_row *row, struct nops_fault *fault);
int64_t nops_run(struct nops *nops, uint32_t batches, struct nops_fault *fault);
void nops_close(struct nops *nops);
