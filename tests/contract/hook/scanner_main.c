/*
 * The program's JSON reader under test: many documents through one process.
 *
 * Reads "<length>\n<document>" again and again.  Writes a line for each: what json_read says
 * of it, its "pid" as a number, its "reason" as a line.  Each document is in memory of
 * exactly its size, so that a sanitizer sees every byte that is read too much.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"

int main(void)
{
	static const char *const said[] = {"good", "malformed", "no object", "twice"};
	size_t length;

	while (scanf("%zu", &length) == 1 && getchar() == '\n') {
		struct json_field fields[] = {{.name = "pid"}, {.name = "reason"}};
		char *text = malloc(length ? length : 1), line[64];
		enum json_result result;

		if (!text || fread(text, 1, length, stdin) != length)
			return 1;
		result = json_read(text, length, fields, 2);
		printf("%s", said[result]);
		if (result == JSON_GOOD) {
			printf("\t%ld", json_positive(&fields[0], INT_MAX));
			if (json_line(&fields[1], line, sizeof(line)))
				printf("\t%s", line);
		}
		putchar('\n');
		free(text);
	}
	return 0;
}
