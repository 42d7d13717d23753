/* reactord_worker.h: a worker of `reactord supervise`, in C99, for Linux.
 *
 * A worker is a process that the supervisor has started, and that draws connections from its queue. Include this file where
 * it is used; in one source file of the program, define REACTORD_WORKER_IMPLEMENTATION before:
 *
 *     #define REACTORD_WORKER_IMPLEMENTATION
 *     #include "reactord_worker.h"
 *
 *     reactord_worker *worker = reactord_worker_create();
 *     reactord_connection connection;
 *     if (worker == NULL) { perror("REACTORD_QUEUE"); return 1; }
 *     while (reactord_worker_accept(worker, &connection) == 1) {
 *         if (reactord_worker_acknowledge(worker, &connection) == 0) {
 *             ... serve connection.fd ...
 *             shutdown(connection.fd, SHUT_RDWR);
 *         }
 *         close(connection.fd);
 *         reactord_worker_done(worker, &connection);
 *     }
 *     reactord_worker_close(worker);
 *
 * With -std=c99, include it before any other header there, or define _DEFAULT_SOURCE: glibc hides CMSG_SPACE otherwise.
 *
 * Until it is acknowledged, a connection belongs to the supervisor: do not read or write it. Should the worker die
 * before, another worker gets it. Acknowledge at once, or when a connection no longer waits for a free thread.
 *
 * A worker that gives back keeps its clients when it is replaced: it says so first (reactord_worker_gives_back), and when the
 * supervisor wants connections back (reactord_worker_owes), it gives each with up to 64 KiB of state: what has come of a
 * message, what is not sent, who the client is (reactord_worker_back). The worker that gets it next finds the state in
 * connection.state. With a loop of its own, on one thread:
 *
 *     reactord_worker_gives_back(worker);
 *     reactord_worker_want(worker, 64);
 *     while (... there is a connection ... || !reactord_worker_may_exit(worker)) {
 *         ... poll(2) for reactord_worker_fd with reactord_worker_events, and for the connections ...
 *         ... serve those that are ready; close each that has ended, and call reactord_worker_done and reactord_worker_want ...
 *         while (reactord_worker_owes(worker) > 0 && ... there is one that can be given back ...)
 *             if (reactord_worker_back(worker, &connection, state, state_bytes) < 0)
 *                 break;
 *         while (reactord_worker_try_accept(worker, &connection) == 1)
 *             ... connection.fd goes on where connection.state says ...
 *     }
 *
 * All functions set errno when they fail. None keeps anything outside of *worker, and none leaves a descriptor open that it
 * does not give to the caller; what is opened has close-on-exec set. None raises SIGPIPE. Calls with one worker must not run
 * in two threads at once.
 *
 * What both sides say is in docs/queue.md. License: MIT OR Apache-2.0.
 */
#if defined REACTORD_WORKER_IMPLEMENTATION && !defined _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif

#ifndef REACTORD_WORKER_H
#define REACTORD_WORKER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* This worker's end of the queue. */
typedef struct reactord_worker reactord_worker;

/* A connection. */
typedef struct reactord_connection {
    int fd;                     /* The connection itself; it blocks. The caller closes it. */
    unsigned long long id;      /* Which it is: no other of this supervisor has the same number. */
    char peer[64];              /* The client's address, as 127.0.0.1:80 or [::1]:80. */
    char local[64];             /* The server's address: a worker of several ports knows from it which it was. */
    int kept;                   /* It was given back, and the supervisor has refused it: it is the worker's, until it ends. */
    const void *state;          /* What it was given back with, by this worker or another, or NULL: a new one. It stays until */
    size_t state_bytes;         /* the next call of accept, try_accept or close with the worker. */
} reactord_connection;

/* What the state of one connection has at most, in bytes. */
#define REACTORD_WORKER_STATE_MAX 65536

/* Takes the queue that this process was started with, sets close-on-exec on it, and takes REACTORD_QUEUE out of the
 * environment. The supervisor learns that the worker is ready when it first accepts.
 *
 * Returns NULL with errno if there is none: ENOENT (REACTORD_QUEUE is not in the environment: not started by a
 * supervisor), EINVAL (it is no number), EBADF (nothing is open there), ENOTSOCK, EPROTOTYPE (a socket of another kind),
 * ENOTCONN, ENOMEM. The descriptor and the environment are left as they are then. */
reactord_worker *reactord_worker_create(void);

/* Waits for the next connection. Returns 1 with a connection, which is to be acknowledged, 0 when the worker is to finish what
 * it has and exit, or -1 with errno: EINTR (a signal came; call again, or not), EBADMSG (the supervisor said something that is
 * not understood), EMFILE (a descriptor was lost: the limit of open files is reached), or what recvmsg(2), sendmsg(2) and
 * fcntl(2) may fail with. After any error but EINTR the queue has ended, and further calls return 0. */
int reactord_worker_accept(reactord_worker *worker, reactord_connection *connection);

/* Makes a connection the worker's own. Returns 0, or -1 with errno: EPIPE if it cannot be any more, because the supervisor is
 * gone or has ended this worker's queue, or what send(2) may fail with; then the queue has ended. Close connection->fd without
 * shutdown: another worker may serve it. */
int reactord_worker_acknowledge(reactord_worker *worker, const reactord_connection *connection);

/* Tells the supervisor that an acknowledged connection has ended, so that it knows how many the worker has. It need not be
 * told. Returns 0, or -1 with errno. */
int reactord_worker_done(reactord_worker *worker, const reactord_connection *connection);

/* Whether the worker is to finish what it has and exit: 1 or 0. Does not wait, and is worth asking while a connection is
 * served that may last. */
int reactord_worker_terminated(reactord_worker *worker);

/* The descriptor of the queue, for poll(2) or select(2): when it is readable, accept does not wait, provided that
 * reactord_worker_ask was called. It stays the worker's. Of a worker that gives back, it is -1 when nothing more can come. */
int reactord_worker_fd(const reactord_worker *worker);

/* Asks for one connection, unless one has been asked for and has not come. Accept does so itself. Returns 0, or -1 with
 * errno. */
int reactord_worker_ask(reactord_worker *worker);

/* Leaves the queue: what was not acknowledged goes to other workers. NULL is allowed. */
void reactord_worker_close(reactord_worker *worker);

/* ── Giving back, and not waiting ── */

/* Has the supervisor know that this worker gives connections back (version 2 of the queue), when it is asked to first. Only
 * such a worker gets connections that were given back. It is to call done for each connection that ends. Returns 0, or -1 with
 * errno: EALREADY (the supervisor has been told otherwise), ENOMEM. */
int reactord_worker_gives_back(reactord_worker *worker);

/* Asks for so many more connections, as soon as the socket takes it. Returns 0, or -1 with errno. */
int reactord_worker_want(reactord_worker *worker, unsigned connections);

/* The next connection, without waiting, and acknowledged: 1 with one that is the worker's now, 0 if there is none now, or -1 with
 * errno, as of accept. Call it until it returns 0 before you wait for the queue's descriptor. */
int reactord_worker_try_accept(reactord_worker *worker, reactord_connection *connection);

/* What to wait for at the queue's descriptor: POLLIN, and POLLOUT if there is something to say or to give back. */
short reactord_worker_events(const reactord_worker *worker);

/* How many connections the supervisor wants back now, as far as was heard: never more than the worker has and may give. All,
 * when it is to finish. Give them when you can, usually at the end of a message; those that you cannot give, finish. */
unsigned long reactord_worker_owes(const reactord_worker *worker);

/* Gives a connection back with its state. It does not wait. Returns 0: it is the supervisor's, and its descriptor is closed; or
 * -1 with errno, and it stays the worker's: EAGAIN (not now; try again when the queue's descriptor is writable, and 10 ms later in
 * any case: that too many descriptors are under way passes without an event), EMSGSIZE (the state has more than
 * REACTORD_WORKER_STATE_MAX bytes), EPERM (it was kept before, or the worker does not give back), EPIPE (the supervisor is gone:
 * finish it), or what sendmsg(2) may fail with. */
int reactord_worker_back(reactord_worker *worker, reactord_connection *connection, const void *state, size_t state_bytes);

/* Whether a worker that gives back and has no connection left may exit: 1 if it is to finish and none that it gave back was
 * kept, else 0. It tells the supervisor that it leaves, and listens until that has answered all it was told: wait for the
 * queue's descriptor, and call try_accept again. */
int reactord_worker_may_exit(reactord_worker *worker);

#ifdef __cplusplus
}
#endif

#endif /* REACTORD_WORKER_H */

#ifdef REACTORD_WORKER_IMPLEMENTATION

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* What the words of one packet have at most. */
#define REACTORD_WORKER_WORDS_MAX 255

/* Room for one packet with a state, for one byte more, so that a longer one shows, and for a NUL after it. */
#define REACTORD_WORKER_ROOM (REACTORD_WORKER_WORDS_MAX + 1 + REACTORD_WORKER_STATE_MAX + 2)

/* The kernel puts no more descriptors into one packet (SCM_MAX_FD); with less room some would be lost. */
#define REACTORD_WORKER_DESCRIPTORS_MAX 253

/* A packet as it was received. */
struct reactord_worker_packet {
    struct reactord_worker_packet *next;
    ssize_t bytes;
    int fd;        /* What came with it, or -1. */
    int arrived;   /* How many descriptors came, INT_MAX if some were lost. */
    char *content;
};

struct reactord_worker {
    int fd;
    int gives_back;
    int ready;             /* The supervisor knows that this worker serves. */
    int finishing;         /* No new connections come. */
    int ended;             /* Nothing more can be said. */
    unsigned long credits; /* So many connections were asked for and have not come. */
    unsigned long owned;   /* So many it has that it may give back. */
    unsigned long owed;    /* So many of them the supervisor wants back. */
    int crowded;           /* None could be given back last though the socket had room. */
    int read_out;          /* Nothing more can come. */
    char *content;         /* What was received last. */
    int offers;            /* `offered` waits for its acknowledgement. */
    reactord_connection offered;
    /* What came while the socket took nothing: the supervisor may wait for us to hear before it hears more itself. */
    struct reactord_worker_packet *heard, **heard_end;
    /* What is to be said when the socket takes it: connections that have ended, and how many more are wanted. */
    unsigned long long *undone;
    size_t undone_count, undone_room;
    unsigned unasked;
};

/* Ends the queue for both sides, setting errno. */
static int reactord_worker_fail(reactord_worker *worker, int error)
{
    worker->ended = 1;
    shutdown(worker->fd, SHUT_RDWR);
    errno = error;
    return -1;
}

/* Receives a packet. Returns as recvmsg. */
static ssize_t reactord_worker_receive(reactord_worker *worker, struct reactord_worker_packet *packet, int flags)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(REACTORD_WORKER_DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct cmsghdr *each;
    struct msghdr message;
    struct iovec part;

    memset(&message, 0, sizeof message);
    part.iov_base = packet->content;
    part.iov_len = worker->gives_back ? REACTORD_WORKER_ROOM - 1 : REACTORD_WORKER_WORDS_MAX + 1;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    packet->fd = -1;
    packet->arrived = 0;
    packet->bytes = recvmsg(worker->fd, &message, MSG_CMSG_CLOEXEC | flags);
    if (packet->bytes < 0)
        return packet->bytes;
    for (each = CMSG_FIRSTHDR(&message); each != NULL; each = CMSG_NXTHDR(&message, each)) {
        size_t bytes, at;
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            continue;
        bytes = each->cmsg_len - CMSG_LEN(0);
        for (at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(each) + at, sizeof fd);
            if (packet->arrived++ == 0)
                packet->fd = fd;
            else
                close(fd);
        }
    }
    if (message.msg_flags & MSG_CTRUNC)
        packet->arrived = INT_MAX;
    return packet->bytes;
}

/* Puts what comes next aside, without waiting. Returns 1, 0 if there is nothing now, or -1 with errno. */
static int reactord_worker_put_aside(reactord_worker *worker)
{
    struct reactord_worker_packet *packet = (struct reactord_worker_packet *)calloc(1, sizeof *packet);
    char *content = (char *)malloc(REACTORD_WORKER_ROOM), *shorter;
    int error = ENOMEM;

    if (packet != NULL && content != NULL) {
        packet->content = content;
        if (reactord_worker_receive(worker, packet, MSG_DONTWAIT) > 0) {
            shorter = (char *)realloc(content, (size_t)packet->bytes);
            if (shorter != NULL)
                packet->content = shorter;
            *worker->heard_end = packet;
            worker->heard_end = &packet->next;
            return 1;
        }
        error = packet->bytes == 0 ? EPIPE : errno;
    }
    free(content);
    free(packet);
    errno = error;
    return error == EAGAIN || error == EINTR ? 0 : -1;
}

/* Waits until the socket takes something again, and puts aside what comes meanwhile. Returns 0, or -1 with errno. */
static int reactord_worker_wait_for_room(reactord_worker *worker)
{
    struct pollfd queue;
    queue.fd = worker->fd;
    queue.events = POLLIN | POLLOUT;
    queue.revents = 0;
    if (poll(&queue, 1, -1) < 0)
        return errno == EINTR ? 0 : -1;
    return queue.revents & POLLIN && reactord_worker_put_aside(worker) < 0 ? -1 : 0;
}

/* Says a word. Returns 0, or -1 with errno: EAGAIN without waiting, or the queue has ended. */
static int reactord_worker_try_say(reactord_worker *worker, const char *word, unsigned long long number, int flags)
{
    char packet[REACTORD_WORKER_WORDS_MAX + 1];
    size_t bytes = (size_t)snprintf(packet, sizeof packet, "%s %llu", word, number);
    if (worker->ended) {
        errno = EPIPE;
        return -1;
    }
    while (send(worker->fd, packet, bytes, MSG_NOSIGNAL | flags) < 0) {
        if (errno == EAGAIN && flags == MSG_DONTWAIT)
            return -1;
        /* What the supervisor does not learn must not keep a connection waiting here. */
        if (errno != EINTR)
            return reactord_worker_fail(worker, errno == ECONNRESET ? EPIPE : errno);
    }
    return 0;
}

/* The same, and waits for the socket. A worker that gives back hears meanwhile. */
static int reactord_worker_say(reactord_worker *worker, const char *word, unsigned long long number)
{
    if (!worker->gives_back)
        return reactord_worker_try_say(worker, word, number, 0);
    while (reactord_worker_try_say(worker, word, number, MSG_DONTWAIT) < 0)
        if (errno != EAGAIN || reactord_worker_wait_for_room(worker) < 0)
            return worker->ended ? -1 : reactord_worker_fail(worker, errno == ECONNRESET ? EPIPE : errno);
    return 0;
}

/* Says what could not be said before. Returns 0, or -1 with errno. */
static int reactord_worker_flush(reactord_worker *worker)
{
    for (; worker->undone_count > 0; worker->undone_count--)
        if (reactord_worker_try_say(worker, "done", worker->undone[worker->undone_count - 1], MSG_DONTWAIT) < 0)
            return -1;
    if (worker->unasked > 0 && reactord_worker_try_say(worker, "want", worker->unasked, MSG_DONTWAIT) < 0)
        return -1;
    worker->unasked = 0;
    return 0;
}

reactord_worker *reactord_worker_create(void)
{
    const char *value = getenv("REACTORD_QUEUE");
    reactord_worker *worker;
    struct sockaddr_storage address;
    socklen_t length;
    char *end;
    long number;
    int type, flags, status;

    if (value == NULL) {
        errno = ENOENT;
        return NULL;
    }
    errno = 0;
    number = strtol(value, &end, 10);
    if (errno != 0 || *value < '0' || *value > '9' || *end != '\0' || number > INT_MAX) {
        errno = EINVAL;
        return NULL;
    }
    length = sizeof type;
    if (getsockopt((int)number, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return NULL;
    length = sizeof address;
    if (getpeername((int)number, (struct sockaddr *)&address, &length) < 0)
        return NULL;
    if (type != SOCK_SEQPACKET || address.ss_family != AF_UNIX) {
        errno = EPROTOTYPE;
        return NULL;
    }
    flags = fcntl((int)number, F_GETFD);
    status = fcntl((int)number, F_GETFL);
    if (flags < 0 || status < 0)
        return NULL;
    worker = (reactord_worker *)calloc(1, sizeof *worker);
    if (worker == NULL)
        return NULL;
    worker->content = (char *)malloc(REACTORD_WORKER_WORDS_MAX + 2);
    if (worker->content == NULL || fcntl((int)number, F_SETFD, flags | FD_CLOEXEC) < 0
        || fcntl((int)number, F_SETFL, status & ~O_NONBLOCK) < 0) {
        int error = errno;
        free(worker->content);
        free(worker);
        errno = error;
        return NULL;
    }
    unsetenv("REACTORD_QUEUE");
    worker->fd = (int)number;
    worker->heard_end = &worker->heard;
    return worker;
}

int reactord_worker_gives_back(reactord_worker *worker)
{
    char *content;
    if (worker->ready && !worker->gives_back) {
        errno = EALREADY;
        return -1;
    }
    content = (char *)realloc(worker->content, REACTORD_WORKER_ROOM);
    if (content == NULL)
        return -1;
    worker->content = content;
    worker->gives_back = 1;
    return 0;
}

int reactord_worker_want(reactord_worker *worker, unsigned connections)
{
    if (worker->ended || worker->finishing || connections == 0)
        return 0;
    if (!worker->ready && reactord_worker_say(worker, "ready", worker->gives_back ? 2 : 1) < 0)
        return -1;
    worker->ready = 1;
    worker->credits += connections;
    if (!worker->gives_back)
        return reactord_worker_say(worker, "want", connections);
    worker->unasked += connections;
    return reactord_worker_flush(worker) < 0 && errno != EAGAIN ? -1 : 0;
}

int reactord_worker_ask(reactord_worker *worker)
{
    return worker->credits > 0 ? 0 : reactord_worker_want(worker, 1);
}

/* Whether words begin with the word, with more words or without. */
static int reactord_worker_says(const char *words, const char *word)
{
    size_t length = strlen(word);
    return strncmp(words, word, length) == 0 && (words[length] == ' ' || words[length] == '\0');
}

/* Writes an address as the supervisor does. Returns 0, or -1 with errno. */
static int reactord_worker_write_address(char *text, size_t room, const struct sockaddr_storage *address)
{
    char host[INET6_ADDRSTRLEN];
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        if (inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host) == NULL)
            return -1;
        snprintf(text, room, "%s:%u", host, (unsigned)ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        if (address->ss_family != AF_INET6 || inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host) == NULL)
            return -1;
        snprintf(text, room, "[%s]:%u", host, (unsigned)ntohs(v6->sin6_port));
    }
    return 0;
}

/* Finds out whose connection it is. Returns -1 if nobody's any more: the client has reset it. */
static int reactord_worker_ask_whose(reactord_connection *connection)
{
    struct sockaddr_storage peer, local;
    socklen_t peer_length = sizeof peer, local_length = sizeof local;
    if (getpeername(connection->fd, (struct sockaddr *)&peer, &peer_length) < 0
        || getsockname(connection->fd, (struct sockaddr *)&local, &local_length) < 0
        || reactord_worker_write_address(connection->peer, sizeof connection->peer, &peer) < 0)
        return -1;
    return reactord_worker_write_address(connection->local, sizeof connection->local, &local);
}

/* Whether exactly one descriptor came, which is made to block. Returns 0, or what is wrong. */
static int reactord_worker_check(const struct reactord_worker_packet *packet)
{
    int flags;
    if (packet->arrived != 1)
        return packet->arrived == INT_MAX ? EMFILE : EBADMSG;
    flags = fcntl(packet->fd, F_GETFL);
    return flags < 0 || fcntl(packet->fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? errno : 0;
}

/* Whether there is anything to be done with a connection that has come. */
static int reactord_worker_is_served(reactord_worker *worker, reactord_connection *connection)
{
    if (!connection->kept) {
        worker->credits -= worker->credits > 0;
        return !worker->ended; /* It could not be acknowledged any more. */
    }
    if (reactord_worker_ask_whose(connection) == 0)
        return 1;
    reactord_worker_done(worker, connection);
    return 0;
}

/* What a packet says: 1 with a connection, 2 if it is something else, or -1 with errno. */
static int reactord_worker_understand(reactord_worker *worker, const struct reactord_worker_packet *packet,
                                      reactord_connection *connection)
{
    char *words = packet->content, *state = (char *)memchr(words, '\n', (size_t)packet->bytes);
    size_t words_bytes = state == NULL ? (size_t)packet->bytes : (size_t)(state - words);
    size_t state_bytes = state == NULL ? 0 : (size_t)packet->bytes - words_bytes - 1;
    int error = 0, is_connection = 0, read_to = 0;
    unsigned long count;

    words[packet->bytes] = '\0';
    if (state != NULL)
        *state++ = '\0';
    memset(connection, 0, sizeof *connection);
    connection->fd = packet->fd;
    connection->state = state;
    connection->state_bytes = state_bytes;

    if (words_bytes > REACTORD_WORKER_WORDS_MAX || strlen(words) != words_bytes || state_bytes > REACTORD_WORKER_STATE_MAX) {
        error = EBADMSG;
    } else if (reactord_worker_says(words, "finish")) {
        error = strcmp(words, "finish") == 0 && state == NULL ? 0 : EBADMSG;
        worker->finishing |= error == 0;
        worker->credits = 0;
    } else if (reactord_worker_says(words, "connection")) {
        is_connection = 1;
        if (sscanf(words, "connection %llu %63s %63s%n", &connection->id, connection->peer, connection->local, &read_to) != 3
            || words[read_to] != '\0' || (state != NULL && !worker->gives_back))
            error = EBADMSG;
    } else if (worker->gives_back && reactord_worker_says(words, "keep")) {
        is_connection = connection->kept = 1;
        if (sscanf(words, "keep %llu%n", &connection->id, &read_to) != 1 || words[read_to] != '\0' || state == NULL)
            error = EBADMSG;
    } else if (worker->gives_back && reactord_worker_says(words, "give")) {
        if (sscanf(words, "give %lu%n", &count, &read_to) != 1 || words[read_to] != '\0' || state != NULL)
            error = EBADMSG;
        else
            worker->owed = count < worker->owned ? count : worker->owned;
    }
    /* Otherwise it is a word of a later version. */
    if (error == 0 && is_connection)
        error = reactord_worker_check(packet);
    if (error == 0 && is_connection && reactord_worker_is_served(worker, connection))
        return 1;
    if (packet->fd >= 0)
        close(packet->fd);
    return error != 0 ? reactord_worker_fail(worker, error) : 2;
}

/* What comes next: 1 with a connection, 2 if it is something else, 0 if nothing comes, now or ever, or -1 with errno. */
static int reactord_worker_next(reactord_worker *worker, reactord_connection *connection, int flags)
{
    struct reactord_worker_packet packet, *first = worker->heard;
    packet.content = worker->content;
    if (first != NULL) {
        worker->heard = first->next;
        if (worker->heard == NULL)
            worker->heard_end = &worker->heard;
        packet.fd = first->fd;
        packet.arrived = first->arrived;
        packet.bytes = first->bytes;
        memcpy(packet.content, first->content, (size_t)first->bytes);
        free(first->content);
        free(first);
    } else if (reactord_worker_receive(worker, &packet, flags) <= 0) {
        if (packet.bytes < 0 && errno == EINTR)
            return -1;
        if (packet.bytes < 0 && errno == EAGAIN && (flags & MSG_DONTWAIT))
            return 0;
        if (packet.bytes < 0 && errno != ECONNRESET)
            return reactord_worker_fail(worker, errno);
        /* The supervisor is gone. What may still be there could not be acknowledged; what was kept is there after a reset. */
        reactord_worker_fail(worker, 0);
        worker->read_out = packet.bytes == 0;
        return packet.bytes < 0 && worker->gives_back ? 2 : 0;
    }
    return reactord_worker_understand(worker, &packet, connection);
}

int reactord_worker_accept(reactord_worker *worker, reactord_connection *connection)
{
    int heard = 2;
    while (heard == 2 && !worker->ended && !worker->finishing) {
        if (reactord_worker_ask(worker) < 0)
            return errno == EPIPE ? 0 : -1;
        /* What is not asked for does not come. */
        if (reactord_worker_flush(worker) < 0 && errno == EAGAIN && reactord_worker_wait_for_room(worker) == 0)
            continue;
        heard = reactord_worker_next(worker, connection, 0);
    }
    return heard == 2 ? 0 : heard;
}

int reactord_worker_acknowledge(reactord_worker *worker, const reactord_connection *connection)
{
    if (connection->kept)
        return 0;
    if (reactord_worker_say(worker, "took", connection->id) < 0)
        return -1;
    worker->owned++;
    return 0;
}

int reactord_worker_try_accept(reactord_worker *worker, reactord_connection *connection)
{
    if (!worker->ended)
        reactord_worker_flush(worker);
    for (;;) {
        int heard = 1;
        if (worker->offers)
            *connection = worker->offered;
        else if (!worker->ended || worker->gives_back)
            heard = reactord_worker_next(worker, connection, MSG_DONTWAIT);
        else
            return 0;
        worker->offers = 0;
        if (heard == 2)
            continue;
        if (heard != 1 || connection->kept)
            return heard;
        if (!worker->ended && reactord_worker_try_say(worker, "took", connection->id, MSG_DONTWAIT) == 0) {
            worker->owned++;
            return 1;
        }
        if (worker->ended) {
            close(connection->fd);
            continue;
        }
        worker->offered = *connection;
        worker->offers = 1;
        while (reactord_worker_put_aside(worker) > 0)
            ;
        return 0;
    }
}

short reactord_worker_events(const reactord_worker *worker)
{
    /* That the socket has room tells nothing to whoever could give nothing back when it had. */
    int gives = reactord_worker_owes(worker) > 0 && !worker->crowded;
    int says = worker->offers || worker->undone_count > 0 || worker->unasked > 0 || gives;
    return says && !worker->ended ? POLLIN | POLLOUT : POLLIN;
}

unsigned long reactord_worker_owes(const reactord_worker *worker)
{
    if (worker->ended || !worker->gives_back)
        return 0;
    return worker->finishing ? worker->owned : worker->owed;
}

/* It has one less. */
static void reactord_worker_forget(reactord_worker *worker, const reactord_connection *connection)
{
    if (!connection->kept && worker->owned > 0)
        worker->owned--;
    if (worker->owed > worker->owned)
        worker->owed = worker->owned;
}

int reactord_worker_back(reactord_worker *worker, reactord_connection *connection, const void *state, size_t state_bytes)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char words[REACTORD_WORKER_WORDS_MAX + 1];
    struct iovec parts[2];
    struct msghdr message;
    struct cmsghdr *rights;

    if (!worker->gives_back || connection->kept || state_bytes > REACTORD_WORKER_STATE_MAX) {
        errno = state_bytes > REACTORD_WORKER_STATE_MAX ? EMSGSIZE : EPERM;
        return -1;
    }
    if (reactord_worker_flush(worker) < 0)
        return -1;
    parts[0].iov_base = words;
    parts[0].iov_len = (size_t)snprintf(words, sizeof words, "back %llu\n", connection->id);
    memcpy(&parts[1].iov_base, &state, sizeof state);
    parts[1].iov_len = state_bytes;
    memset(&message, 0, sizeof message);
    memset(&control, 0, sizeof control);
    message.msg_iov = parts;
    message.msg_iovlen = state_bytes > 0 ? 2 : 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &connection->fd, sizeof(int));
    while (sendmsg(worker->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EPIPE || errno == ECONNRESET)
            return reactord_worker_fail(worker, EPIPE);
        /* So many descriptors of this user are under way: that passes, as a full socket does. */
        if ((worker->crowded = errno == ETOOMANYREFS))
            errno = EAGAIN;
        if (errno != EINTR)
            return -1;
    }
    worker->crowded = 0;
    close(connection->fd);
    connection->fd = -1;
    worker->owed -= worker->owed > 0;
    reactord_worker_forget(worker, connection);
    return 0;
}

int reactord_worker_done(reactord_worker *worker, const reactord_connection *connection)
{
    unsigned long long *undone = worker->undone;
    reactord_worker_forget(worker, connection);
    if (!worker->gives_back)
        return reactord_worker_say(worker, "done", connection->id);
    if (worker->undone_count == worker->undone_room) {
        size_t room = 2 * worker->undone_room + 16;
        undone = (unsigned long long *)realloc(undone, room * sizeof *undone);
        if (undone == NULL)
            return -1;
        worker->undone = undone;
        worker->undone_room = room;
    }
    undone[worker->undone_count++] = connection->id;
    return reactord_worker_flush(worker) < 0 && errno != EAGAIN ? -1 : 0;
}

int reactord_worker_terminated(reactord_worker *worker)
{
    char packet[sizeof "finish"];
    int before = errno;

    while (!worker->ended && !worker->finishing) {
        /* Without room for descriptors, a look does not receive any. */
        ssize_t received = recv(worker->fd, packet, sizeof packet, MSG_PEEK | MSG_DONTWAIT);
        if (received < 0 && errno == EINTR)
            continue;
        worker->ended = received == 0 || (received < 0 && errno == ECONNRESET);
        worker->finishing = received == (ssize_t)strlen("finish") && memcmp(packet, "finish", strlen("finish")) == 0;
        break;
    }
    errno = before;
    return worker->ended || worker->finishing;
}

int reactord_worker_may_exit(reactord_worker *worker)
{
    char byte;
    ssize_t received;
    if (worker->offers || worker->heard != NULL || !reactord_worker_terminated(worker))
        return 0;
    if (!worker->ended) {
        worker->ended = 1;
        shutdown(worker->fd, SHUT_WR);
    }
    do {
        received = recv(worker->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    } while (received < 0 && (errno == EINTR || errno == ECONNRESET));
    return received == 0 || (received < 0 && errno != EAGAIN);
}

int reactord_worker_fd(const reactord_worker *worker)
{
    return worker->gives_back && worker->read_out ? -1 : worker->fd;
}

void reactord_worker_close(reactord_worker *worker)
{
    if (worker == NULL)
        return;
    close(worker->fd);
    if (worker->offers)
        close(worker->offered.fd);
    while (worker->heard != NULL) {
        struct reactord_worker_packet *first = worker->heard;
        worker->heard = first->next;
        if (first->fd >= 0)
            close(first->fd);
        free(first->content);
        free(first);
    }
    free(worker->undone);
    free(worker->content);
    free(worker);
}

#endif /* REACTORD_WORKER_IMPLEMENTATION */
