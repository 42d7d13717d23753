/* Calls the functions that its arguments name, in order, and prints for each what it returned, errno, and at the end how many
 * descriptors are open that were not open at the start. */
/* What it sends by sendmsg(2) is sent by this. */
#define sendmsg send_message
#define REACTORD_WORKER_IMPLEMENTATION
#include "reactord_worker.h"
#undef sendmsg

#include <dirent.h>
#include <poll.h>
#include <sys/resource.h>

ssize_t sendmsg(int fd, const struct msghdr *message, int flags);

/* Whether too many descriptors of this user are under way. */
static int crowded;

ssize_t send_message(int fd, const struct msghdr *message, int flags)
{
    errno = ETOOMANYREFS;
    return crowded ? -1 : sendmsg(fd, message, flags);
}

static const char *name(int error)
{
    switch (error) {
    case 0: return "OK";
    case EAGAIN: return "EAGAIN";
    case EBADF: return "EBADF";
    case EBADMSG: return "EBADMSG";
    case EINVAL: return "EINVAL";
    case EMFILE: return "EMFILE";
    case EMSGSIZE: return "EMSGSIZE";
    case ENOENT: return "ENOENT";
    case ENOTSOCK: return "ENOTSOCK";
    case EPERM: return "EPERM";
    case EPIPE: return "EPIPE";
    default: return strerror(error);
    }
}

static int open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

int main(int argc, char **argv)
{
    static char state[REACTORD_WORKER_STATE_MAX + 1];
    static reactord_connection connections[8];
    int at, accepted = 0, before = open_descriptors();
    reactord_worker *worker = reactord_worker_create();

    if (worker == NULL) {
        printf("create %s\n", name(errno));
        return 1;
    }
    if (getenv("REACTORD_QUEUE") != NULL || !(fcntl(reactord_worker_fd(worker), F_GETFD) & FD_CLOEXEC))
        printf("a program that is started from here would inherit the queue\n");
    for (at = 1; at < argc; at++) {
        reactord_connection *last = &connections[accepted > 0 ? accepted - 1 : 0];
        int result = 0;
        errno = 0;
        if (strcmp(argv[at], "limit") == 0) {
            struct rlimit limit = { 4, 4 };
            setrlimit(RLIMIT_NOFILE, &limit);
            continue;
        } else if (strcmp(argv[at], "crowd") == 0) {
            crowded = !crowded;
            continue;
        } else if (strcmp(argv[at], "full") == 0) {
            /* Lets nothing more be sent for now. */
            fcntl(reactord_worker_fd(worker), F_SETFL, O_NONBLOCK);
            while (send(reactord_worker_fd(worker), "done 1", 6, MSG_NOSIGNAL) > 0)
                ;
            continue;
        } else if (strcmp(argv[at], "end") == 0) {
            /* Waits until the other end is closed. */
            struct pollfd queue = { reactord_worker_fd(worker), 0, 0 };
            poll(&queue, 1, -1);
            continue;
        } else if (strcmp(argv[at], "accept") == 0) {
            result = reactord_worker_accept(worker, &connections[accepted]);
        } else if (strcmp(argv[at], "acknowledge") == 0) {
            result = reactord_worker_acknowledge(worker, last);
        } else if (strcmp(argv[at], "done") == 0) {
            result = reactord_worker_done(worker, last);
        } else if (strcmp(argv[at], "terminated") == 0) {
            result = reactord_worker_terminated(worker);
        } else if (strcmp(argv[at], "gives_back") == 0) {
            result = reactord_worker_gives_back(worker);
        } else if (strcmp(argv[at], "owes") == 0) {
            result = (int)reactord_worker_owes(worker);
        } else if (strcmp(argv[at], "gives") == 0) {
            /* Whether it is worth waiting for that the socket has room. */
            result = (reactord_worker_events(worker) & POLLOUT) != 0;
        } else if (strcmp(argv[at], "back") == 0) {
            result = reactord_worker_back(worker, last, "half", 4);
        } else if (strcmp(argv[at], "back_too_much") == 0) {
            result = reactord_worker_back(worker, last, state, sizeof state);
        } else if (strcmp(argv[at], "may_exit") == 0) {
            /* Nothing comes any more but the end. */
            struct pollfd queue = { reactord_worker_fd(worker), POLLIN, 0 };
            while ((result = reactord_worker_may_exit(worker)) == 0)
                poll(&queue, 1, -1);
        }
        printf("%s %d %s", argv[at], result, result < 0 ? name(errno) : "OK");
        if (strcmp(argv[at], "accept") == 0 && result == 1) {
            last = &connections[accepted++];
            printf(" %llu %s %s%s", last->id, last->peer, last->local, last->kept ? " kept" : "");
            if (last->state != NULL)
                printf(" %.*s", (int)last->state_bytes, (const char *)last->state);
        }
        printf("\n");
    }
    reactord_worker_close(worker);
    while (accepted-- > 0)
        if (connections[accepted].fd >= 0)
            close(connections[accepted].fd);
    /* The queue itself was open before, and is closed. */
    printf("descriptors %d\n", open_descriptors() - before + 1);
    return 0;
}
