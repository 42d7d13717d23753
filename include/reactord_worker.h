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
} reactord_connection;

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
 * reactord_worker_ask was called. It stays the worker's. */
int reactord_worker_fd(const reactord_worker *worker);

/* Asks for one connection, unless one has been asked for and has not come. Accept does so itself. Returns 0, or -1 with
 * errno. */
int reactord_worker_ask(reactord_worker *worker);

/* Leaves the queue: what was not acknowledged goes to other workers. NULL is allowed. */
void reactord_worker_close(reactord_worker *worker);

#ifdef __cplusplus
}
#endif

#endif /* REACTORD_WORKER_H */

#ifdef REACTORD_WORKER_IMPLEMENTATION

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* What one packet has at most. */
#define REACTORD_WORKER_PACKET_MAX 255

/* The kernel puts no more descriptors into one packet (SCM_MAX_FD); with less room some would be lost. */
#define REACTORD_WORKER_DESCRIPTORS_MAX 253

struct reactord_worker {
    int fd;
    int ready;   /* The supervisor knows that this worker serves. */
    int asked;   /* One connection was asked for and has not come. */
    int ended;   /* No more connections come. */
};

/* Ends the queue for both sides, setting errno. */
static int reactord_worker_fail(reactord_worker *worker, int error)
{
    worker->ended = 1;
    shutdown(worker->fd, SHUT_RDWR);
    errno = error;
    return -1;
}

static int reactord_worker_say(reactord_worker *worker, const char *word)
{
    ssize_t sent;
    do {
        sent = send(worker->fd, word, strlen(word), MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    /* What the supervisor does not learn must not keep a connection waiting here. */
    return sent < 0 ? reactord_worker_fail(worker, errno == ECONNRESET ? EPIPE : errno) : 0;
}

static int reactord_worker_say_id(reactord_worker *worker, const char *word, unsigned long long id)
{
    char packet[REACTORD_WORKER_PACKET_MAX + 1];
    snprintf(packet, sizeof packet, "%s %llu", word, id);
    return reactord_worker_say(worker, packet);
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
    if (fcntl((int)number, F_SETFD, flags | FD_CLOEXEC) < 0 || fcntl((int)number, F_SETFL, status & ~O_NONBLOCK) < 0) {
        int error = errno;
        free(worker);
        errno = error;
        return NULL;
    }
    unsetenv("REACTORD_QUEUE");
    worker->fd = (int)number;
    return worker;
}

/* Puts the descriptor that came with a message into *fd, and closes surplus ones. Returns how many came, INT_MAX if some were
 * lost. */
static int reactord_worker_descriptor(struct msghdr *message, int *fd)
{
    struct cmsghdr *control;
    int arrived = 0;

    for (control = CMSG_FIRSTHDR(message); control != NULL; control = CMSG_NXTHDR(message, control)) {
        size_t bytes, at;
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
            continue;
        bytes = control->cmsg_len - CMSG_LEN(0);
        for (at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
            int each;
            memcpy(&each, CMSG_DATA(control) + at, sizeof each);
            if (arrived++ == 0)
                *fd = each;
            else
                close(each);
        }
    }
    return message->msg_flags & MSG_CTRUNC ? INT_MAX : arrived;
}

int reactord_worker_ask(reactord_worker *worker)
{
    if (worker->ended || worker->asked)
        return 0;
    if (!worker->ready && reactord_worker_say(worker, "ready 1") < 0)
        return -1;
    worker->ready = 1;
    if (reactord_worker_say(worker, "want 1") < 0)
        return -1;
    worker->asked = 1;
    return 0;
}

/* Whether a packet says the word, with more words or without. */
static int reactord_worker_says(const char *packet, const char *word)
{
    size_t length = strlen(word);
    return strncmp(packet, word, length) == 0 && (packet[length] == ' ' || packet[length] == '\0');
}

int reactord_worker_accept(reactord_worker *worker, reactord_connection *connection)
{
    while (!worker->ended) {
        union {
            struct cmsghdr align;
            char space[CMSG_SPACE(REACTORD_WORKER_DESCRIPTORS_MAX * sizeof(int))];
        } control;
        char packet[REACTORD_WORKER_PACKET_MAX + 2];
        struct iovec part;
        struct msghdr message;
        ssize_t received;
        int fd = -1, arrived, flags, read_to = 0, error = 0;

        if (reactord_worker_ask(worker) < 0)
            return errno == EPIPE ? 0 : -1;
        memset(&message, 0, sizeof message);
        part.iov_base = packet;
        part.iov_len = sizeof packet - 1;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        received = recvmsg(worker->fd, &message, MSG_CMSG_CLOEXEC);
        if (received < 0 && errno == EINTR)
            return -1;
        if (received == 0 || (received < 0 && errno == ECONNRESET)) {
            /* The supervisor is gone. What may still be there could not be acknowledged. */
            reactord_worker_fail(worker, 0);
            break;
        }
        if (received < 0)
            return reactord_worker_fail(worker, errno);
        packet[received] = '\0';
        arrived = reactord_worker_descriptor(&message, &fd);

        if (received > REACTORD_WORKER_PACKET_MAX || strlen(packet) != (size_t)received) {
            error = EBADMSG;
        } else if (strcmp(packet, "finish") == 0) {
            worker->ended = 1;
        } else if (reactord_worker_says(packet, "connection")) {
            if (sscanf(packet, "connection %llu %63s %63s%n", &connection->id, connection->peer, connection->local,
                       &read_to) != 3 || read_to != received)
                error = EBADMSG;
            else if (arrived == INT_MAX)
                error = EMFILE;
            else if (arrived != 1)
                error = EBADMSG;
            else if ((flags = fcntl(fd, F_GETFL)) < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
                error = errno;
            if (error == 0) {
                worker->asked = 0;
                connection->fd = fd;
                return 1;
            }
        } else if (reactord_worker_says(packet, "finish")) {
            error = EBADMSG;
        }
        /* Otherwise it is a word of a later version. */
        if (fd >= 0)
            close(fd);
        if (error != 0)
            return reactord_worker_fail(worker, error);
    }
    return 0;
}

int reactord_worker_acknowledge(reactord_worker *worker, const reactord_connection *connection)
{
    return reactord_worker_say_id(worker, "took", connection->id);
}

int reactord_worker_done(reactord_worker *worker, const reactord_connection *connection)
{
    return reactord_worker_say_id(worker, "done", connection->id);
}

int reactord_worker_terminated(reactord_worker *worker)
{
    char packet[sizeof "finish"];
    int before = errno;

    while (!worker->ended) {
        /* Without room for descriptors, a look does not receive any. */
        ssize_t received = recv(worker->fd, packet, sizeof packet, MSG_PEEK | MSG_DONTWAIT);
        if (received < 0 && errno == EINTR)
            continue;
        worker->ended = received == 0 || (received < 0 && errno == ECONNRESET)
            || (received == (ssize_t)strlen("finish") && memcmp(packet, "finish", strlen("finish")) == 0);
        break;
    }
    errno = before;
    return worker->ended;
}

int reactord_worker_fd(const reactord_worker *worker)
{
    return worker->fd;
}

void reactord_worker_close(reactord_worker *worker)
{
    if (worker != NULL) {
        close(worker->fd);
        free(worker);
    }
}

#endif /* REACTORD_WORKER_IMPLEMENTATION */
