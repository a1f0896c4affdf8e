#include "sandbox/cell_watch.h"

#include "sandbox/cell_walk.h"
#include "sandbox/clock.h"
#include "sandbox/message.h"

enum {
	EVERY_US = 30 * 1000,
	LATEST_US = 60 * 1000, /* however long a look took */
	SHARE = 20, /* until then a look may take one part in so many of the time */
	SETTLE_US = 1000, /* for processes to get to the signal that stops them */
	/*
	 * Whoever runs for so long after it has others wake him, which no honest script does; and the
	 * warden is one of many in the cell's share of the processors before all of them stand.
	 */
	STOP_MAX_US = 5 * 1000 * 1000,
};

void cell_watch_begin(struct cell *cell)
{
	if (cell_group_ends_whole(&cell->group))
		return; /* which is seen at once */
	cell->watch.next_us = cell->run.started_us + EVERY_US;
}

bool cell_watch_end(struct cell *cell)
{
	bool stopped = cell->watch.stopped_us > 0;

	cell->watch = (struct cell_watch){.next_us = 0};
	return stopped;
}

static uint64_t limit_of(const struct cell *cell)
{
	return (uint64_t)cell->job.limits.memory_mib << 20;
}

/* Files of /tmp that are mapped are in both numbers: the larger counts. */
static uint64_t total_of(const struct cell *cell, uint64_t own, uint64_t shmem, uint64_t kernel)
{
	return own + kernel + (shmem > cell->watch.tmp_bytes ? shmem : cell->watch.tmp_bytes);
}

static bool is_over(const struct cell *cell, uint64_t total)
{
	return total > limit_of(cell) + cell->run.allowance_bytes;
}

/* The next look, when one has come to its end. */
static void set_next(struct cell *cell)
{
	uint64_t now = clock_now_us(), pause = (now - cell->watch.begun_us) * SHARE;

	if (pause < EVERY_US)
		pause = EVERY_US;
	if (pause > LATEST_US)
		pause = LATEST_US;
	cell->watch.next_us = now + pause;
}

/*
 * Whoever is forked while the signals to stop and to go on come may get only the first: so
 * processes that still stand at a later look are to go on, too.
 */
static enum watch_demand acquit(struct cell *cell, bool some_stopped)
{
	bool stopped = cell->watch.stopped_us > 0;

	cell->watch.stopped_us = 0;
	set_next(cell);
	return stopped || (some_stopped && cell->watch.has_stopped) ? WATCH_GO_ON : WATCH_TMP;
}

static enum watch_demand convict(struct cell *cell, uint64_t total)
{
	set_next(cell);
	cell->run.struck_bytes =
		is_over(cell, total) ? total - cell->run.warm_bytes : limit_of(cell);
	return WATCH_STRIKE;
}

/* Again and again until all stand and none end. */
static enum watch_demand stop(struct cell *cell, uint64_t total)
{
	uint64_t now = clock_now_us();

	if (!cell->watch.stopped_us)
		cell->watch.stopped_us = now;
	else if (now - cell->watch.stopped_us > STOP_MAX_US)
		return convict(cell, total);
	cell->watch.has_stopped = true;
	cell->watch.next_us = now + EVERY_US; /* should the warden not say that it is done */
	return WATCH_STOP;
}

/* Should it be busy, there is another turn. */
static enum watch_demand ask_scale(struct cell *cell, const struct cell_walk *walk)
{
	cell->watch.kernel_bytes = walk->kernel_bytes;
	cell->watch.asked = message_send(cell->environment->scale, &walk->scale,
				    sizeof(walk->scale), NULL, 0) == 0;
	cell->watch.next_us = clock_now_us() + EVERY_US;
	return WATCH_NOTHING;
}

static enum watch_demand look(struct cell *cell)
{
	static struct cell_walk walk; /* a worker has one thread */
	bool stopped = cell->watch.stopped_us > 0, is_exact;
	uint64_t total;

	cell_walk(cell, &walk);
	total = total_of(cell, walk.own_bytes, walk.shmem_bytes, walk.kernel_bytes);
	is_exact = walk.scale.count == 1 || walk.overflow || cell->environment->scale < 0;
	if (is_over(cell, total) && is_exact)
		return convict(cell, total);
	if (walk.moved || (stopped && !walk.standing))
		return stop(cell, total);
	if (!is_over(cell, total))
		return acquit(cell, walk.some_stopped);
	return stopped ? ask_scale(cell, &walk) : stop(cell, total);
}

enum watch_demand cell_watch_turn(struct cell *cell)
{
	if (cell->watch.asked) { /* nobody is to wake another meanwhile */
		cell->watch.next_us = clock_now_us() + EVERY_US;
		return WATCH_STOP;
	}
	if (!cell->watch.stopped_us)
		cell->watch.begun_us = clock_now_us();
	if (!cell_group_limits_memory(&cell->group))
		return look(cell);
	set_next(cell);
	return cell_group_was_struck(&cell->group, &cell->run.struck_bytes) ? WATCH_STRIKE
									    : WATCH_NOTHING;
}

void cell_watch_take_tmp(struct cell *cell, uint64_t bytes)
{
	cell->watch.tmp_bytes = bytes;
	if (cell->watch.stopped_us && !cell->watch.asked)
		cell->watch.next_us = clock_now_us() + SETTLE_US;
}

enum watch_demand cell_watch_take_weight(struct cell *cell, const struct scale_answer *answer)
{
	uint64_t total =
		total_of(cell, answer->anon_bytes, answer->shmem_bytes, cell->watch.kernel_bytes);

	if (!cell->watch.asked || answer->execution != cell->run.number)
		return WATCH_NOTHING;
	cell->watch.asked = false;
	if (answer->missing) {
		cell->watch.stopped_us = clock_now_us();
		return stop(cell, total);
	}
	return is_over(cell, total) ? convict(cell, total) : acquit(cell, true);
}
