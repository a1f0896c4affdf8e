/* Tries each layer of isolation on this machine, in a child that goes with it. */
#ifndef VIVARIUM_PROBE_H
#define VIVARIUM_PROBE_H

#include "sandbox/layers.h"

#include <stdbool.h>

enum {
	PROBE_CURE_BYTES = 320,
};

struct probe_row {
	enum layer layer;
	const char *title; /* what it is, for people */
	const char *needs;
	bool found;
	struct err err; /* what the kernel said, where it was not found */
	char cure[PROBE_CURE_BYTES]; /* what to do about that, in one sentence */
};

/*
 * Tries all layers, one child for each, and fills rows[LAYER_COUNT] in the order of enum layer.
 * To be called while the process is still what its user started: before any namespace or filter.
 * Returns the set of those found.
 */
uint32_t probe_layers(struct probe_row rows[LAYER_COUNT]);

/*
 * The same set, cheaper where everything is there: all namespaces are tried in one child first, and
 * one by one only if that fails.
 */
uint32_t probe_layers_quickly(struct probe_row rows[LAYER_COUNT]);

#endif
