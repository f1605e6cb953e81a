/*
 * Just enough JSON for the hook, strictly (RFC 8259, UTF-8): a whole document that is an
 * object, and the values of a few of its own fields.
 *
 * Why: the OCI state carries annotations that users write.  A "pid" inside one of them, or
 * inside a string, or spelt with escapes, must not be taken for the container's.
 *
 * Nothing is allocated: values point into the text that was read.
 */
#ifndef IBDRA_JSON_H
#define IBDRA_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* Objects and arrays inside each other, at most; deeper documents are refused. */
#define JSON_DEPTH 100

struct json_field {
	const char *name;  /* to look for: ASCII */
	const char *value; /* where it was found; NULL: it was not */
	size_t length;
};

enum json_result {
	JSON_GOOD,
	JSON_MALFORMED, /* also: something behind the document, bad UTF-8, too deep */
	JSON_NO_OBJECT,
	JSON_TWICE, /* one of the fields looked for stands there twice */
};

/* Check the whole document and find these fields of its outermost object. */
enum json_result json_read(const char *text, size_t length, struct json_field fields[],
			   size_t count);

/* Tell whether a value reads exactly so: "true", "1". */
bool json_is(const struct json_field *field, const char *literal);

/* Read a value that must be a plain integer of 1 to most; -1 if it is not. */
long json_positive(const struct json_field *field, long most);

/*
 * Write a string value as UTF-8 on one line, at most size - 1 bytes and a closing zero:
 * control and direction characters become spaces, half surrogate pairs U+FFFD, and what is
 * cut off three dots.  False if the value is no string.  size is at least 8.
 */
bool json_line(const struct json_field *field, char *line, size_t size);

#endif
