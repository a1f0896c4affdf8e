#include "fcgi-app/turns.h"

#include <errno.h>
#include <stdlib.h>

TAILQ_HEAD(turn_list, turn);
TAILQ_HEAD(taker_list, turn_taker);

/* A client that has a place: there are never more of them than places. */
struct turn_taker {
	struct client client;
	struct turn_list turns;
	size_t count;
	TAILQ_ENTRY(turn_taker) in_round, in_rank;
	TAILQ_ENTRY(turn_taker) in_bucket; /* or in the list of the unused */
};

struct turns {
	uint64_t seed;
	size_t capacity, count;
	size_t most; /* places of the greediest */
	size_t mask; /* of the hash */
	struct taker_list round; /* in the order of their turns */
	struct taker_list unused;
	struct taker_list *bucket; /* by the hash of the client */
	struct taker_list *rank; /* by the number of places */
	struct turn_taker taker[];
};

static struct taker_list *new_lists(size_t count)
{
	struct taker_list *lists = calloc(count, sizeof(*lists));
	size_t i;

	for (i = 0; lists && i < count; i++)
		TAILQ_INIT(&lists[i]);
	return lists;
}

struct turns *turns_new(size_t capacity, uint64_t seed)
{
	struct turns *turns = calloc(1, sizeof(*turns) + capacity * sizeof(turns->taker[0]));
	size_t buckets = 1, i;

	if (!turns)
		return NULL;
	while (buckets < capacity)
		buckets *= 2;
	turns->seed = seed;
	turns->capacity = capacity;
	turns->mask = buckets - 1;
	TAILQ_INIT(&turns->round);
	TAILQ_INIT(&turns->unused);
	for (i = 0; i < capacity; i++)
		TAILQ_INSERT_TAIL(&turns->unused, &turns->taker[i], in_bucket);
	turns->bucket = new_lists(buckets);
	turns->rank = new_lists(capacity + 1);
	if (!turns->bucket || !turns->rank) {
		turns_free(turns);
		return NULL;
	}
	return turns;
}

void turns_free(struct turns *turns)
{
	free(turns->bucket);
	free(turns->rank);
	free(turns);
}

size_t turns_capacity(const struct turns *turns)
{
	return turns->capacity;
}

size_t turns_count(const struct turns *turns)
{
	return turns->count;
}

static struct taker_list *bucket_of(struct turns *turns, const struct client *client)
{
	return &turns->bucket[client_hash(client, turns->seed) & turns->mask];
}

static struct turn_taker *find(struct turns *turns, const struct client *client)
{
	struct turn_taker *taker;

	TAILQ_FOREACH (taker, bucket_of(turns, client), in_bucket) {
		if (client_is_same(&taker->client, client))
			return taker;
	}
	return NULL;
}

/* A newcomer is the last in the round. */
static struct turn_taker *enter(struct turns *turns, const struct client *client)
{
	struct turn_taker *taker = TAILQ_FIRST(&turns->unused);

	TAILQ_REMOVE(&turns->unused, taker, in_bucket);
	taker->client = *client;
	taker->count = 0;
	TAILQ_INIT(&taker->turns);
	TAILQ_INSERT_TAIL(bucket_of(turns, client), taker, in_bucket);
	TAILQ_INSERT_TAIL(&turns->round, taker, in_round);
	TAILQ_INSERT_TAIL(&turns->rank[0], taker, in_rank);
	return taker;
}

static void leave(struct turns *turns, struct turn_taker *taker)
{
	TAILQ_REMOVE(&turns->rank[0], taker, in_rank);
	TAILQ_REMOVE(&turns->round, taker, in_round);
	TAILQ_REMOVE(bucket_of(turns, &taker->client), taker, in_bucket);
	TAILQ_INSERT_HEAD(&turns->unused, taker, in_bucket);
}

/* The number of places changes by one: so the greediest is found without a search. */
static void set_count(struct turns *turns, struct turn_taker *taker, size_t count)
{
	turns->count += count - taker->count;
	TAILQ_REMOVE(&turns->rank[taker->count], taker, in_rank);
	TAILQ_INSERT_TAIL(&turns->rank[count], taker, in_rank);
	if (count > turns->most || TAILQ_EMPTY(&turns->rank[turns->most]))
		turns->most = count;
	taker->count = count;
}

void turns_remove(struct turns *turns, struct turn *turn)
{
	struct turn_taker *taker = turn->taker;

	if (!taker)
		return;
	turn->taker = NULL;
	TAILQ_REMOVE(&taker->turns, turn, link);
	set_count(turns, taker, taker->count - 1);
	if (!taker->count)
		leave(turns, taker);
}

/* The greediest loses its last place, if it has two more at least than the client asks for. */
static struct turn *drop_for(struct turns *turns, size_t places)
{
	struct turn_taker *greediest = TAILQ_FIRST(&turns->rank[turns->most]);
	struct turn *last;

	if (turns->most < places + 2)
		return NULL;
	last = TAILQ_LAST(&greediest->turns, turn_list);
	turns_remove(turns, last);
	return last;
}

int turns_add(struct turns *turns, struct turn *turn, const struct client *client,
	struct turn **ret_dropped)
{
	struct turn_taker *taker = find(turns, client);

	*ret_dropped = NULL;
	if (turns->count == turns->capacity) {
		*ret_dropped = drop_for(turns, taker ? taker->count : 0);
		if (!*ret_dropped)
			return -EAGAIN;
	}
	if (!taker)
		taker = enter(turns, client);
	turn->taker = taker;
	TAILQ_INSERT_TAIL(&taker->turns, turn, link);
	set_count(turns, taker, taker->count + 1);
	return 0;
}

/* The client whose turn it was goes to the end of the round. */
static struct turn *take(struct turns *turns, struct turn *turn)
{
	TAILQ_REMOVE(&turns->round, turn->taker, in_round);
	TAILQ_INSERT_TAIL(&turns->round, turn->taker, in_round);
	turns_remove(turns, turn);
	return turn;
}

struct turn *turns_next(struct turns *turns,
	bool (*suits)(const struct turn *turn, const void *context), const void *context)
{
	struct turn_taker *taker;
	struct turn *turn;
	size_t looks = 0;

	TAILQ_FOREACH (taker, &turns->round, in_round) {
		TAILQ_FOREACH (turn, &taker->turns, link) {
			if (suits(turn, context))
				return take(turns, turn);
			if (++looks == TURNS_LOOKS)
				return take(turns, TAILQ_FIRST(&TAILQ_FIRST(&turns->round)->turns));
		}
	}
	return NULL;
}
