/*
 * A bounded queue in which clients take turns. However many places one client has, the next place
 * belongs to another client, if another one waits; of one client's places the first come is the
 * first served. Where all places are taken a client that has fewer than the greediest gets the last
 * one of that client's: a flood fills the queue for whoever floods it, and for nobody else.
 *
 * A data structure: it waits for nothing and locks nothing. Adding, removing and choosing take the
 * same time however many wait.
 */
#ifndef VIVARIUM_TURNS_H
#define VIVARIUM_TURNS_H

#include "fcgi-app/client.h"

#include <stddef.h>
#include <sys/queue.h>

struct turns;
struct turn_taker;

/* A place in the queue; its memory is the caller's, and has to stay until it is out of the queue.
 */
struct turn {
	TAILQ_ENTRY(turn) link;
	struct turn_taker *taker; /* NULL: not in a queue */
};

/* A queue of so many places; seed: secret. NULL without memory. */
struct turns *turns_new(size_t capacity, uint64_t seed);
void turns_free(struct turns *turns);

size_t turns_capacity(const struct turns *turns);
size_t turns_count(const struct turns *turns);

/*
 * Puts a turn of the client at the end of its own. *ret_dropped is the turn that lost its place for
 * it, or NULL. Returns 0, or -EAGAIN when there is no place for this client.
 */
int turns_add(struct turns *turns, struct turn *turn, const struct client *client,
	struct turn **ret_dropped);

/* Takes a turn out, if it is in. */
void turns_remove(struct turns *turns, struct turn *turn);

/*
 * Takes out the turn that is next among those that `suits` says yes to, or NULL. After TURNS_LOOKS
 * that it has said no to, the very next one has to do.
 */
struct turn *turns_next(struct turns *turns,
	bool (*suits)(const struct turn *turn, const void *context), const void *context);

enum {
	TURNS_LOOKS = 64,
};

#endif
