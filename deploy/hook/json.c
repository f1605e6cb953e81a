#include "json.h"

#include <stdint.h>
#include <string.h>

#define REPLACEMENT 0xFFFDu

struct cursor {
	const char *at;
	const char *end;
};

static unsigned char byte_at(const char *at)
{
	return (unsigned char)*at;
}

static void skip_blanks(struct cursor *c)
{
	while (c->at < c->end && memchr(" \t\n\r", *c->at, 4))
		c->at++;
}

static bool take(struct cursor *c, char wanted)
{
	if (c->at == c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

static bool take_word(struct cursor *c, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0)
		return false;
	c->at += length;
	return true;
}

static bool take_digits(struct cursor *c)
{
	const char *start = c->at;

	while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
		c->at++;
	return c->at > start;
}

static bool take_number(struct cursor *c)
{
	take(c, '-');
	if (!take(c, '0') && !take_digits(c))
		return false;
	if (take(c, '.') && !take_digits(c))
		return false;
	if (take(c, 'e') || take(c, 'E')) {
		if (!take(c, '+'))
			take(c, '-');
		return take_digits(c);
	}
	return true;
}

/* Four hexadecimal digits; -1 if they are not. */
static int32_t take_hex4(struct cursor *c)
{
	int32_t value = 0;

	if (c->end - c->at < 4)
		return -1;
	for (int i = 0; i < 4; i++, c->at++) {
		char digit = *c->at;

		value <<= 4;
		if (digit >= '0' && digit <= '9')
			value += digit - '0';
		else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')
			value += (digit | 0x20) - 'a' + 10;
		else
			return -1;
	}
	return value;
}

/* One character that is more than a byte; -1 for what is no UTF-8 (Unicode, table 3-7). */
static int32_t take_utf8(struct cursor *c)
{
	unsigned char lead = byte_at(c->at);
	int more = lead >= 0xF0 && lead <= 0xF4 ? 3 : lead >= 0xE0 && lead < 0xF0 ? 2 :
		   lead >= 0xC2 && lead < 0xE0	? 1 : 0;
	int32_t least = more == 3 ? 0x10000 : more == 2 ? 0x800 : 0x80;
	int32_t value = lead & (0x3F >> more);

	if (more == 0 || c->end - c->at <= more)
		return -1;
	c->at++;
	for (; more > 0; more--, c->at++) {
		if ((byte_at(c->at) & 0xC0) != 0x80)
			return -1;
		value = value << 6 | (byte_at(c->at) & 0x3F);
	}
	if (value < least || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
		return -1;
	return value;
}

/* What stands behind a backslash; a pair of surrogates is one character. */
static int32_t take_escape(struct cursor *c)
{
	static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	const char *found;
	int32_t high, low;

	if (c->at == c->end)
		return -1;
	found = memchr(letters, *c->at, sizeof(letters) - 1);
	if (found) {
		c->at++;
		return meant[found - letters];
	}
	if (!take(c, 'u'))
		return -1;
	high = take_hex4(c);
	if (high < 0xD800 || high > 0xDFFF)
		return high;
	if (high < 0xDC00) {
		struct cursor next = *c;

		if (take_word(&next, "\\u") && (low = take_hex4(&next)) >= 0xDC00 &&
		    low <= 0xDFFF) {
			*c = next;
			return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
		}
	}
	return REPLACEMENT;
}

/* One character of a string, the closing quote excepted; -1 for what may not stand there. */
static int32_t take_character(struct cursor *c)
{
	unsigned char first;

	if (c->at == c->end)
		return -1;
	first = byte_at(c->at);
	if (first >= 0x80)
		return take_utf8(c);
	if (first < 0x20 || first == '"')
		return -1;
	c->at++;
	return first == '\\' ? take_escape(c) : first;
}

static bool take_string(struct cursor *c)
{
	if (!take(c, '"'))
		return false;
	while (!take(c, '"'))
		if (take_character(c) < 0)
			return false;
	return true;
}

/* Compare a key, from quote to quote, with a name: escapes mean what they stand for. */
static bool is_named(const char *key, const char *end, const char *name)
{
	struct cursor c = {key + 1, end - 1};

	for (; *name && c.at < c.end; name++)
		if (take_character(&c) != *name)
			return false;
	return *name == '\0' && c.at == c.end;
}

/* What is looked for in the outermost object. */
struct search {
	struct json_field *fields;
	size_t count;
	bool twice;
};

static void note(struct search *search, const char *key, const char *key_end,
		 const char *value, const char *value_end)
{
	for (size_t i = 0; i < search->count; i++) {
		struct json_field *field = &search->fields[i];

		if (!is_named(key, key_end, field->name))
			continue;
		search->twice = search->twice || field->value;
		field->value = value;
		field->length = (size_t)(value_end - value);
	}
}

static bool take_value(struct cursor *c, int depth);

/* An object (or array) up to its closing bracket; the opening one is taken. */
static bool take_members(struct cursor *c, char closing, int depth, struct search *search)
{
	skip_blanks(c);
	if (take(c, closing))
		return true;
	do {
		const char *key, *key_end, *value;

		skip_blanks(c);
		key = c->at;
		if (closing == '}' && !take_string(c))
			return false;
		key_end = c->at;
		skip_blanks(c);
		if (closing == '}' && !take(c, ':'))
			return false;
		skip_blanks(c);
		value = c->at;
		if (!take_value(c, depth))
			return false;
		if (search)
			note(search, key, key_end, value, c->at);
		skip_blanks(c);
	} while (take(c, ','));
	return take(c, closing);
}

static bool take_value(struct cursor *c, int depth)
{
	if (c->at < c->end && *c->at == '"')
		return take_string(c);
	if (depth < JSON_DEPTH && take(c, '{'))
		return take_members(c, '}', depth + 1, NULL);
	if (depth < JSON_DEPTH && take(c, '['))
		return take_members(c, ']', depth + 1, NULL);
	return take_word(c, "true") || take_word(c, "false") || take_word(c, "null") ||
	       take_number(c);
}

enum json_result json_read(const char *text, size_t length, struct json_field fields[],
			   size_t count)
{
	struct cursor c = {text, text + length};
	struct search search = {.fields = fields, .count = count};
	bool object, good;

	for (size_t i = 0; i < count; i++)
		fields[i].value = NULL;
	skip_blanks(&c);
	object = take(&c, '{');
	good = object ? take_members(&c, '}', 1, &search) : take_value(&c, 0);
	skip_blanks(&c);
	if (!good || c.at != c.end)
		return JSON_MALFORMED;
	if (!object)
		return JSON_NO_OBJECT;
	return search.twice ? JSON_TWICE : JSON_GOOD;
}

bool json_is(const struct json_field *field, const char *literal)
{
	return field->value && field->length == strlen(literal) &&
	       memcmp(field->value, literal, field->length) == 0;
}

long json_positive(const struct json_field *field, long most)
{
	long value = 0;

	if (!field->value)
		return -1;
	for (size_t i = 0; i < field->length; i++) {
		int digit = field->value[i] - '0';

		if (digit < 0 || digit > 9 || value > (most - digit) / 10)
			return -1;
		value = value * 10 + digit;
	}
	return value > 0 ? value : -1;
}

/* Nothing that ends a line, moves the cursor or turns the direction of writing. */
static int32_t harmless(int32_t c)
{
	bool control = c < 0x20 || (c >= 0x7F && c <= 0x9F);
	bool direction = (c >= 0x200E && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
			 (c >= 0x2066 && c <= 0x2069) || c == 0x61C;

	return control || direction ? ' ' : c;
}

static size_t put_utf8(char *at, int32_t c)
{
	size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (length == 1) {
		at[0] = (char)c;
		return 1;
	}
	for (size_t i = length - 1; i > 0; i--, c >>= 6)
		at[i] = (char)(0x80 | (c & 0x3F));
	at[0] = (char)(c | (0xF00 >> length & 0xFF));
	return length;
}

bool json_line(const struct json_field *field, char *line, size_t size)
{
	size_t length = 0;

	if (!field->value || field->value[0] != '"')
		return false;
	for (struct cursor c = {field->value + 1, field->value + field->length - 1};
	     c.at < c.end;) {
		int32_t character = take_character(&c);

		if (character < 0)
			return false;
		if (length + 4 + 4 > size) { /* a character, or three dots, and the zero */
			memcpy(line + length, "...", 3);
			length += 3;
			break;
		}
		length += put_utf8(line + length, harmless(character));
	}
	line[length] = '\0';
	return true;
}
