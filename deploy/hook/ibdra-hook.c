/*
 * The attach hook: the container runtime runs it on the host before a container starts.
 *
 * Why: nothing of the driver's image exists where the runtime runs its hooks.  So this is
 * one static program that knows nothing of InfiniBand.  It hands the OCI state to the
 * driver's daemon and turns the answer into an exit status and one line on standard error.
 * It says yes by itself in one case only, without which a container could not be restarted
 * while the daemon is down: nobody answers, and the daemon's mark says that this claim is
 * attached to the very network namespace that the container has.  A daemon that is there is
 * always asked: it sees what has become of the device since.  Whatever else goes wrong, the
 * container does not start.
 *
 * Exit status: 0 attached, 1 refused, 2 wrong arguments.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "mark.h"

#ifndef VERSION
#define VERSION "unknown"
#endif

#define STATE_MOST (1 << 20)
#define ANSWER_MOST (1 << 16)
#define DEADLINE_MOST 3600

static const char *socket_path = "/run/ibdra/hook.sock";
static const char *marks_path = "/run/ibdra/attached";
static long deadline = 50; /* seconds; the CDI hook's own time-out is 60 */
static const char *claim, *nodes;
static long long end_ms; /* when the deadline is over, on the monotonic clock */

static char state[STATE_MOST + 1], answer[ANSWER_MOST + 1];

__attribute__((format(printf, 1, 2), noreturn)) static void refuse(const char *format, ...)
{
	static char text[3000], line[sizeof(text) + 200];
	va_list arguments;
	ssize_t ignored;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(line, sizeof(line), "ibdra: claim %s: %s\n", claim, text);
	ignored = write(STDERR_FILENO, line, strlen(line));
	(void)ignored; /* nobody is left to tell */
	exit(1);
}

/* An error's text as the end of a sentence. */
static const char *cause(int error)
{
	static char text[100];

	snprintf(text, sizeof(text), "%s", strerror(error));
	if (text[0] >= 'A' && text[0] <= 'Z')
		text[0] = (char)(text[0] - 'A' + 'a');
	return text;
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

__attribute__((noreturn)) static void refuse_late(void)
{
	refuse("the ibdra daemon did not answer at %s within %ld s: look at its log, the "
	       "kubelet tries again", socket_path, deadline);
}

static size_t read_state(void)
{
	size_t length = 0;

	for (;;) {
		struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
		long long left = end_ms - now_ms();
		ssize_t got;

		if (left <= 0)
			refuse("the OCI state did not end within %ld s: look at the container "
			       "runtime, it has to close the hook's standard input", deadline);
		if (poll(&input, 1, (int)left) <= 0)
			continue;
		got = read(STDIN_FILENO, state + length, sizeof(state) - length);
		if (got == 0)
			return length;
		if (got < 0 && errno != EINTR && errno != EAGAIN)
			refuse("the OCI state cannot be read (%s): look at the container "
			       "runtime, it has to write it to the hook's standard input",
			       cause(errno));
		if (got > 0)
			length += (size_t)got;
		if (length > STATE_MOST)
			refuse("the OCI state has more than %d bytes: remove annotations from "
			       "the pod", STATE_MOST);
	}
}

static pid_t read_pid(size_t length)
{
	struct json_field pid = {.name = "pid"};
	enum json_result result = json_read(state, length, &pid, 1);
	long number = json_positive(&pid, INT_MAX);
	const char *problem = length == 0		  ? "is empty" :
			      result == JSON_MALFORMED  ? "is not JSON" :
			      result == JSON_NO_OBJECT  ? "is not a JSON object" :
			      result == JSON_TWICE	  ? "names two pids" :
			      !pid.value		  ? "names no pid" :
			      number < 0		  ? "names a pid that is none" : NULL;

	if (problem)
		refuse("the OCI state %s: look at the container runtime, it has to write it to "
		       "the hook's standard input", problem);
	return (pid_t)number;
}

/* Give the next system call on the socket what is left of the deadline. */
static void limit(int fd, int option)
{
	long long left = end_ms - now_ms();
	struct timeval time = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};

	if (left <= 0)
		refuse_late();
	if (setsockopt(fd, SOL_SOCKET, option, &time, sizeof(time)) < 0)
		refuse("the hook's socket cannot be used (%s): report this", cause(errno));
}

static int dial(pid_t pid)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		refuse("no socket can be made (%s): look at the limits of the container "
		       "runtime", cause(errno));
	memcpy(address.sun_path, socket_path, strlen(socket_path));
	for (;;) {
		limit(fd, SO_SNDTIMEO); /* connect waits that long for a place in the queue */
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		if (errno != EINTR && errno != EAGAIN) {
			int error = errno;

			if (is_marked(marks_path, claim, nodes, pid))
				exit(0);
			refuse("the ibdra daemon does not answer at %s (%s): start it, the "
			       "kubelet tries again", socket_path, cause(error));
		}
	}
}

/* Send all of it; false if the daemon does not listen any more. */
static bool send_all(int fd, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t sent;

		limit(fd, SO_SNDTIMEO);
		sent = send(fd, text, length, MSG_NOSIGNAL);
		if (sent < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		if (sent > 0) {
			text += sent;
			length -= (size_t)sent;
		}
	}
	return true;
}

/* Take what the daemon says until it closes; false if the connection broke instead. */
static bool receive_all(int fd, size_t *length)
{
	*length = 0;
	for (;;) {
		ssize_t got;

		limit(fd, SO_RCVTIMEO);
		got = recv(fd, answer + *length, sizeof(answer) - *length, 0);
		if (got == 0)
			return true;
		if (got < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		if (got > 0)
			*length += (size_t)got;
		if (*length > ANSWER_MOST)
			refuse("the ibdra daemon's answer has more than %d bytes: look at its "
			       "log", ANSWER_MOST);
	}
}

static void ask_daemon(size_t state_length, pid_t pid)
{
	static char head[NODES_MOST + 200], reason[2000];
	struct json_field fields[] = {{.name = "version"}, {.name = "attached"}, {.name = "reason"}};
	int fd = dial(pid);
	bool whole;
	size_t length;
	enum json_result result;

	snprintf(head, sizeof(head),
		 "{\"version\":1,\"claim\":\"%s\",\"nodes\":\"%s\",\"state\":", claim, nodes);
	whole = send_all(fd, head, strlen(head)) && send_all(fd, state, state_length) &&
		send_all(fd, "}", 1) && shutdown(fd, SHUT_WR) == 0;
	/* A daemon that would not listen to the end may have said why. */
	whole = receive_all(fd, &length) && whole;
	result = json_read(answer, length, fields, 3);
	if (result == JSON_GOOD && json_is(&fields[0], "1")) {
		if (json_is(&fields[1], "true") && whole)
			return;
		if (json_is(&fields[1], "false") && json_line(&fields[2], reason, sizeof(reason)))
			refuse("%s", reason);
	}
	if (length == 0 && is_marked(marks_path, claim, nodes, pid))
		return; /* it died, or was stopped, while we asked */
	if (length == 0)
		refuse("the ibdra daemon closed the connection without an answer: look at its "
		       "log, the kubelet tries again");
	refuse("the ibdra daemon's answer is not understood: compare its version with that of "
	       "this hook (" VERSION ")");
}

__attribute__((noreturn)) static void refuse_usage(const char *problem, const char *what)
{
	fprintf(stderr, "ibdra-hook: %s%s: usage: ibdra-hook [--socket PATH] [--marks DIR] "
		"[--deadline SECONDS] attach CLAIM_UID NODES\n", problem, what);
	exit(2);
}

static bool is_claim(const char *text)
{
	size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789-");

	return length >= 1 && length <= 63 && text[length] == '\0';
}

/* Character device numbers, 231:202,231:203, or a dash for none. */
static bool is_nodes(const char *text)
{
	static const char digits[] = "0123456789";
	size_t major, minor;

	if (strcmp(text, "-") == 0)
		return true;
	if (strlen(text) > NODES_MOST)
		return false;
	for (;; text++) {
		major = strspn(text, digits);
		if (major < 1 || major > 10 || text[major] != ':')
			return false;
		text += major + 1;
		minor = strspn(text, digits);
		if (minor < 1 || minor > 10)
			return false;
		text += minor;
		if (*text != ',')
			return *text == '\0';
	}
}

static void read_arguments(int count, char *arguments[])
{
	int at = 1;

	if (count == 2 && strcmp(arguments[1], "--version") == 0) {
		printf("ibdra-hook " VERSION "\n");
		exit(fflush(stdout) == 0 ? 0 : 1);
	}
	for (; at + 1 < count && strncmp(arguments[at], "--", 2) == 0; at += 2) {
		const char *option = arguments[at], *value = arguments[at + 1];
		struct json_field number = {.value = value, .length = strlen(value)};

		if (strcmp(option, "--socket") == 0)
			socket_path = value;
		else if (strcmp(option, "--marks") == 0)
			marks_path = value;
		else if (strcmp(option, "--deadline") == 0)
			deadline = json_positive(&number, DEADLINE_MOST);
		else
			refuse_usage("there is no option ", option);
	}
	if (deadline < 0)
		refuse_usage("--deadline is a number of seconds from 1 to 3600", "");
	if (socket_path[0] != '/' ||
	    strlen(socket_path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		refuse_usage("--socket is an absolute path of at most 107 bytes", "");
	if (count - at != 3 || strcmp(arguments[at], "attach") != 0)
		refuse_usage("it takes the word attach and two arguments", "");
	claim = arguments[at + 1];
	nodes = arguments[at + 2];
	if (!is_claim(claim))
		refuse_usage("the first argument is not a claim's UID", "");
	if (!is_nodes(nodes))
		refuse_usage("the second argument is no list of device numbers such as 231:202", "");
}

int main(int count, char *arguments[])
{
	size_t length;

	for (int fd = 0; fd < 3; fd++) /* no file of ours becomes a standard one */
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return 1;
	signal(SIGPIPE, SIG_IGN);
	read_arguments(count, arguments);
	end_ms = now_ms() + deadline * 1000;
	length = read_state();
	ask_daemon(length, read_pid(length));
	return 0;
}
