/* A request, its rules, and why it was refused: for tests of requests. */
#ifndef VIVARIUM_TESTS_UNIT_REQUEST_H
#define VIVARIUM_TESTS_UNIT_REQUEST_H

#include "fcgi-app/request.h"
#include "tests/unit/unit.h"

static struct config config;
static struct request_rules rules;
static struct request request;
static struct request_refusal refusal;

static int set_up_request(void **state)
{
	(void)state;
	config_default(&config, "/bin/vivarium");
	request_rules_init(&rules, &config);
	return 0;
}

static int tear_down_request(void **state)
{
	(void)state;
	request_free(&request);
	return 0;
}

/* Parses the body anew, from memory that ends with it. */
static int parse_request(const char *body, size_t length)
{
	char *copy = unit_copy(body, length);
	int r;

	request_reset(&request);
	memset(&refusal, 0xA5, sizeof(refusal));
	r = request_parse(copy, length, &rules, 42, &request, &refusal);
	free(copy);
	return r;
}

#endif
