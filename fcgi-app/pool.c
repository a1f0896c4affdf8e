/*
 * Every cell has a lane. While a request holds the cell, its thread alone reads the lane; in
 * between the pool's epoll watches it, once for each news (EPOLLONESHOT), so that the two never
 * read at the same time. A thread that has to wait gets its cell handed over by whoever learns
 * that one is free, when it is its client's turn, and is woken through its own eventfd: nobody is
 * woken in vain, however many wait. Where somebody waits a cell is handed on as soon as its answer
 * is there, before its next execution is parked; unless the cell is to be built anew, which takes
 * longer. An idle cell that asks to be built anew is let go while nobody waits and another is idle.
 */
#include "fcgi-app/pool.h"

#include "fcgi-app/turns.h"
#include "sandbox/clock.h"
#include "sandbox/job.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum {
	NEWS_MAX = 32,
	ALARM = INT_MAX, /* no cell has this index */
	NO_CELL = -1,
	NO_PLACE = -2, /* the queue gave the place to another client */
	PATIENCE_US = 50 * 1000, /* to wait for a cell with the right set; an import takes longer */
	CHANGE_REST_US = 1000 * 1000, /* before the same cell is made to change again */
	ANSWER_MAX_BYTES = RESULT_MAX_BYTES + 2 * STREAM_MAX_BYTES + (256 << 10),
	READER_KEEP_BYTES = 256 << 10,
};

enum cell_state {
	CELL_DOWN, /* no lane, or its worker says so */
	CELL_PREPARING, /* an execution is being made */
	CELL_IDLE,
	CELL_BUSY,
};

struct pool_cell {
	enum cell_state state;
	int lane; /* owned; -1: none */
	int next_lane; /* came while the cell was held; owned; -1: none */
	uint32_t number, next_number; /* of these two */
	bool lost; /* its lane broke, which nobody has been told yet */
	size_t set; /* library set, as it last said */
	bool leaving; /* it is to be built anew: with the end of its job, or once it is told */
	uint64_t idle_us, changed_us; /* since when it is idle; when it was last made to change */
	struct frame_reader reader;
};

struct waiter {
	struct turn turn; /* first: it is what the queue knows of a waiter */
	const struct pool_wish *wish;
	int cell; /* handed over, or NO_CELL, or NO_PLACE */
	uint64_t patient_until_us; /* until then only a cell that has the set will do */
};

struct pool {
	pthread_mutex_t mutex;
	int epoll;
	int alarm; /* an eventfd in it: some lane is lost */
	size_t count;
	const struct library_sets *sets;
	bool some_leave; /* of the idle cells, perhaps */
	struct turns *queue; /* of waiters */
	struct pool_cell cell[];
};

struct pool *pool_new(size_t cells, size_t queue, const struct library_sets *sets, uint64_t seed)
{
	struct pool *pool = calloc(1, sizeof(*pool) + cells * sizeof(pool->cell[0]));
	struct epoll_event alarm = {.events = EPOLLIN, .data = {.u64 = ALARM}};
	size_t i;

	if (!pool)
		return NULL;
	pthread_mutex_init(&pool->mutex, NULL);
	pool->count = cells;
	pool->sets = sets;
	for (i = 0; i < cells; i++) {
		pool->cell[i].lane = pool->cell[i].next_lane = -1;
		pool->cell[i].reader.in.cap = ANSWER_MAX_BYTES;
	}
	pool->queue = turns_new(queue, seed);
	pool->epoll = epoll_create1(EPOLL_CLOEXEC);
	pool->alarm = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->queue && epoll_ctl(pool->epoll, EPOLL_CTL_ADD, pool->alarm, &alarm) == 0)
		return pool;
	if (pool->queue)
		turns_free(pool->queue);
	fd_close(&pool->epoll);
	fd_close(&pool->alarm);
	free(pool);
	return NULL;
}

int pool_descriptor(const struct pool *pool)
{
	return pool->epoll;
}

/* --- under the mutex ----------------------------------------------------------------------- */

static void watch(struct pool *pool, size_t index, int operation, bool on)
{
	struct epoll_event event = {
		.events = EPOLLONESHOT | (on ? (uint32_t)(EPOLLIN | EPOLLRDHUP) : 0),
		.data = {.u64 = index}};

	epoll_ctl(pool->epoll, operation, pool->cell[index].lane, &event);
}

static void break_lane(struct pool *pool, size_t index)
{
	struct pool_cell *cell = &pool->cell[index];

	fd_close(&cell->lane);
	frame_reader_reset(&cell->reader, 0);
	cell->state = CELL_DOWN;
	cell->leaving = false;
	cell->lost = cell->next_lane < 0;
	if (cell->lost) {
		eventfd_write(pool->alarm, 1);
		return;
	}
	cell->lane = fd_take(&cell->next_lane);
	cell->number = cell->next_number;
	cell->state = CELL_PREPARING;
	watch(pool, index, EPOLL_CTL_ADD, true);
}

static bool covers(const struct pool *pool, size_t index, size_t wanted)
{
	return library_sets_covers(pool->sets, pool->cell[index].set, wanted);
}

static void take(struct pool *pool, size_t index)
{
	pool->cell[index].state = CELL_BUSY;
	watch(pool, index, EPOLL_CTL_MOD, false);
}

/* For turns_next. */
struct offer {
	const struct pool *pool;
	size_t index; /* of the cell */
	uint64_t now_us;
};

static bool suits(const struct turn *turn, const void *context)
{
	const struct waiter *waiter = (const struct waiter *)turn;
	const struct offer *offer = context;

	return covers(offer->pool, offer->index, waiter->wish->wanted) ||
	       offer->now_us >= waiter->patient_until_us;
}

/* Ends a waiter's wait, who has left the queue. */
static void wake(struct waiter *waiter, int cell)
{
	const uint64_t one = 1;

	waiter->cell = cell;
	if (write(waiter->wish->wake, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable all the same */
}

/* An idle cell goes to the next of those whom it suits. */
static void hand_over(struct pool *pool, size_t index)
{
	struct offer offer = {.pool = pool, .index = index};
	struct waiter *waiter;

	if (!turns_count(pool->queue))
		return;
	offer.now_us = clock_now_us();
	waiter = (struct waiter *)turns_next(pool->queue, suits, &offer);
	if (!waiter)
		return;
	take(pool, index);
	wake(waiter, (int)index);
}

static void take_news(struct pool *pool, size_t index, const struct frame *frame)
{
	struct pool_cell *cell = &pool->cell[index];

	uint32_t set;

	if (frame->type == FRAME_READY && frame->length == sizeof(set)) {
		memcpy(&set, frame->payload, sizeof(set));
		cell->set = set < pool->sets->count ? set : 0;
		cell->state = CELL_IDLE;
		cell->leaving = false;
		cell->idle_us = clock_now_us();
	} else if (frame->type == FRAME_DOWN) {
		cell->state = CELL_DOWN;
		cell->leaving = false;
	} else if (frame->type == FRAME_LEAVING) {
		cell->leaving = pool->some_leave = true;
	} /* else the rest of an answer that nobody waited for */
}

static void read_news(struct pool *pool, size_t index)
{
	struct pool_cell *cell = &pool->cell[index];
	struct frame frame;
	int r;

	if (cell->state == CELL_BUSY || cell->lane < 0)
		return; /* acquired since: its thread reads now */
	r = frame_reader_fill(&cell->reader, cell->lane, NULL);
	if (r == 0 || (r < 0 && r != -EAGAIN)) {
		break_lane(pool, index);
		return;
	}
	while (frame_reader_next(&cell->reader, &frame))
		take_news(pool, index, &frame);
	if (cell->state == CELL_IDLE)
		hand_over(pool, index);
	if (cell->state != CELL_BUSY)
		watch(pool, index, EPOLL_CTL_MOD, true);
}

/* An idle cell that has the wanted set warm, and as little else as can be; NO_CELL. */
static int find_fitting(const struct pool *pool, size_t wanted)
{
	int more = NO_CELL;
	size_t i;

	for (i = 0; i < pool->count; i++) {
		if (pool->cell[i].state != CELL_IDLE)
			continue;
		if (pool->cell[i].set == wanted)
			return (int)i;
		if (covers(pool, i, wanted))
			more = (int)i;
	}
	return more;
}

/* The cell that has been idle longest, of those that changed no later than changed_before_us. */
static int find_longest_idle(const struct pool *pool, uint64_t changed_before_us)
{
	int found = NO_CELL;
	size_t i;

	for (i = 0; i < pool->count; i++) {
		if (pool->cell[i].state != CELL_IDLE ||
			pool->cell[i].changed_us > changed_before_us)
			continue;
		if (found == NO_CELL || pool->cell[i].idle_us < pool->cell[found].idle_us)
			found = (int)i;
	}
	return found;
}

/* Whether a cell with the wanted set will be back soon. */
static bool is_coming(const struct pool *pool, size_t wanted)
{
	size_t i;

	for (i = 0; i < pool->count; i++) {
		if ((pool->cell[i].state == CELL_PREPARING || pool->cell[i].state == CELL_BUSY) &&
			covers(pool, i, wanted))
			return true;
	}
	return false;
}

/* Has an idle cell built anew with a library set. Returns whether it was told. */
static bool change(struct pool_cell *cell, size_t set)
{
	struct frame_writer writer = {0};
	uint32_t number = (uint32_t)set;
	bool told = frame_append(&writer.out, FRAME_CHANGE, &number, sizeof(number)) == 0 &&
		    frame_flush(&writer, cell->lane) == 0;

	if (told) {
		cell->state = CELL_PREPARING;
		cell->set = set;
	}
	frame_writer_reset(&writer, 0);
	return told;
}

/*
 * Cells with the wanted set are short while others lie idle: the one that has been idle longest is
 * made to hold it.
 */
static void change_idle_cell(struct pool *pool, size_t wanted)
{
	uint64_t now = clock_now_us();
	int index = find_longest_idle(pool, now > CHANGE_REST_US ? now - CHANGE_REST_US : 0);

	if (index != NO_CELL && change(&pool->cell[index], wanted))
		pool->cell[index].changed_us = now;
}

/* The last idle cell stays for whoever comes next; it leaves after that job. */
static void let_leaving_go(struct pool *pool)
{
	size_t idle = 0, i;

	if (!pool->some_leave || turns_count(pool->queue))
		return;
	pool->some_leave = false;
	for (i = 0; i < pool->count; i++)
		idle += pool->cell[i].state == CELL_IDLE;
	for (i = 0; i < pool->count; i++) {
		if (pool->cell[i].state != CELL_IDLE || !pool->cell[i].leaving)
			continue;
		if ((idle > 1 || pool->count == 1) && change(&pool->cell[i], pool->cell[i].set))
			idle--;
		else
			pool->some_leave = true;
	}
}

/* --- news ---------------------------------------------------------------------------------- */

void pool_handle(struct pool *pool)
{
	struct epoll_event events[NEWS_MAX];
	int count = epoll_wait(pool->epoll, events, NEWS_MAX, 0), i;
	eventfd_t alarms;

	pthread_mutex_lock(&pool->mutex);
	for (i = 0; i < count; i++) {
		if (events[i].data.u64 == ALARM)
			eventfd_read(pool->alarm, &alarms);
		else
			read_news(pool, events[i].data.u64);
	}
	let_leaving_go(pool);
	pthread_mutex_unlock(&pool->mutex);
}

bool pool_take_lost(struct pool *pool, size_t *index, uint32_t *number)
{
	struct pool_cell *cell;
	bool found = false;
	size_t i;

	pthread_mutex_lock(&pool->mutex);
	for (i = 0; i < pool->count && !found; i++) {
		cell = &pool->cell[i];
		found = cell->lost;
		if (!found)
			continue;
		cell->lost = false;
		*index = i;
		*number = cell->number;
	}
	pthread_mutex_unlock(&pool->mutex);
	return found;
}

void pool_set_lane(struct pool *pool, size_t index, int fd, uint32_t number)
{
	struct pool_cell *cell;

	if (index >= pool->count || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&pool->mutex);
	cell = &pool->cell[index];
	fd_close(&cell->next_lane);
	cell->next_lane = fd;
	cell->next_number = number;
	if (cell->state != CELL_BUSY)
		break_lane(pool, index);
	pthread_mutex_unlock(&pool->mutex);
}

/* --- admission ----------------------------------------------------------------------------- */

static int milliseconds_left(uint64_t deadline_us)
{
	uint64_t now = clock_now_us();

	return now >= deadline_us ? 0 : (int)((deadline_us - now + 999) / 1000);
}

/* Sleeps until woken, the client goes, or time is up. Returns 0, -ECANCELED or -ETIMEDOUT. */
static int sleep_in_queue(const struct waiter *waiter)
{
	const struct pool_wish *wish = waiter->wish;
	struct pollfd watched[2] = {
		{.fd = wish->wake, .events = POLLIN}, {.fd = wish->client_fd, .events = POLLRDHUP}};
	uint64_t until = wish->deadline_us, count;
	int r;

	if (waiter->patient_until_us > clock_now_us() && waiter->patient_until_us < until)
		until = waiter->patient_until_us;
	r = poll(watched, 2, milliseconds_left(until));
	if (r < 0 && errno != EINTR)
		return -errno;
	if (watched[0].revents && read(wish->wake, &count, sizeof(count)) > 0)
		return 0;
	if (r > 0 && watched[1].revents)
		return -ECANCELED;
	return clock_now_us() >= wish->deadline_us ? -ETIMEDOUT : 0;
}

/* Out of patience: any idle cell will do now. */
static void settle_for_any(struct pool *pool, struct waiter *waiter)
{
	int index = find_longest_idle(pool, UINT64_MAX);

	if (clock_now_us() < waiter->patient_until_us || index == NO_CELL)
		return;
	turns_remove(pool->queue, &waiter->turn);
	take(pool, (size_t)index);
	waiter->cell = index;
}

static int wait_in_queue(struct pool *pool, struct waiter *waiter)
{
	int r;

	do {
		pthread_mutex_unlock(&pool->mutex);
		r = sleep_in_queue(waiter);
		pthread_mutex_lock(&pool->mutex);
		if (!r && waiter->cell == NO_CELL)
			settle_for_any(pool, waiter);
	} while (!r && waiter->cell == NO_CELL);
	turns_remove(pool->queue, &waiter->turn);
	if (waiter->cell == NO_PLACE)
		return -EAGAIN;
	return waiter->cell == NO_CELL ? r : 0; /* also when it came at the last moment */
}

/* To the queue, where one of another client's may lose its place. */
static int queue_up(struct pool *pool, struct waiter *waiter)
{
	struct turn *dropped;
	int r = turns_add(pool->queue, &waiter->turn, &waiter->wish->client, &dropped);

	if (dropped)
		wake((struct waiter *)dropped, NO_PLACE);
	return r < 0 ? r : wait_in_queue(pool, waiter);
}

/* A cell at once, or NO_CELL: to the queue, where the right one may be worth some patience. */
static int take_at_once(struct pool *pool, struct waiter *waiter)
{
	size_t wanted = waiter->wish->wanted;
	int index = find_fitting(pool, wanted);

	if (index == NO_CELL) {
		change_idle_cell(pool, wanted);
		if (is_coming(pool, wanted) &&
			turns_count(pool->queue) < turns_capacity(pool->queue)) {
			waiter->patient_until_us = clock_now_us() + PATIENCE_US;
			return NO_CELL;
		}
		index = find_longest_idle(pool, UINT64_MAX);
	}
	if (index != NO_CELL)
		take(pool, (size_t)index);
	return index;
}

/* A cell that came just before its waiter gave up left a count behind. */
static void drain_wake(int eventfd)
{
	uint64_t count;

	while (read(eventfd, &count, sizeof(count)) > 0)
		;
}

int pool_acquire(struct pool *pool, const struct pool_wish *wish, size_t *cell)
{
	struct waiter waiter = {.wish = wish};
	int r = 0;

	drain_wake(wish->wake);
	pthread_mutex_lock(&pool->mutex);
	waiter.cell = take_at_once(pool, &waiter);
	if (waiter.cell == NO_CELL)
		r = queue_up(pool, &waiter);
	pthread_mutex_unlock(&pool->mutex);
	*cell = (size_t)waiter.cell;
	return r;
}

int pool_lane(const struct pool *pool, size_t cell)
{
	return pool->cell[cell].lane;
}

struct frame_reader *pool_reader(struct pool *pool, size_t cell)
{
	return &pool->cell[cell].reader;
}

void pool_release(struct pool *pool, size_t index, enum pool_return how)
{
	struct pool_cell *cell = &pool->cell[index];
	struct frame frame;

	pthread_mutex_lock(&pool->mutex);
	if (how == POOL_BROKEN || cell->next_lane >= 0) {
		break_lane(pool, index);
	} else {
		/* the news of the next execution may have come with the answer of this one */
		cell->state = CELL_PREPARING;
		cell->leaving |= how == POOL_LEAVING;
		while (frame_reader_next(&cell->reader, &frame))
			take_news(pool, index, &frame);
		if (cell->reader.start == cell->reader.in.length)
			frame_reader_reset(&cell->reader, READER_KEEP_BYTES);
		/* who waits need not wait for the news: the worker keeps the job until then */
		if (cell->state != CELL_DOWN && !cell->leaving)
			hand_over(pool, index);
		if (cell->state != CELL_BUSY)
			watch(pool, index, EPOLL_CTL_MOD, true);
	}
	pthread_mutex_unlock(&pool->mutex);
}

void pool_count(struct pool *pool, struct pool_counts *counts)
{
	size_t i;

	*counts =
		(struct pool_counts){.total = pool->count, .capacity = turns_capacity(pool->queue)};
	pthread_mutex_lock(&pool->mutex);
	counts->waiting = turns_count(pool->queue);
	for (i = 0; i < pool->count; i++) {
		counts->idle += pool->cell[i].state == CELL_IDLE;
		counts->busy += pool->cell[i].state == CELL_BUSY;
		counts->preparing += pool->cell[i].state == CELL_PREPARING;
		counts->down += pool->cell[i].state == CELL_DOWN;
	}
	pthread_mutex_unlock(&pool->mutex);
}
