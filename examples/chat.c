/* A chat that keeps its clients when it is replaced: the name of each, which is its first line, and what it is typing go to the
 * next worker with the connection.
 *
 *     cc -std=c99 -I include -o chat examples/chat.c && reactord supervise -p 1234 --workers 4 -- ./chat */
#define REACTORD_WORKER_IMPLEMENTATION
#include "reactord_worker.h"

/* A state is the name, a newline, and what is being typed. The name with its newline has `name` bytes: 1 is nobody's. */
static struct client { reactord_connection connection; size_t bytes, name; char state[8192]; } *clients;
static int count;

static void add(const reactord_connection *connection)
{
    struct client *client;
    clients = realloc(clients, (size_t)(count + 1) * sizeof *clients);
    client = &clients[count++];
    *client = (struct client){ *connection, 1, 1, "\n" };
    if (connection->state != NULL && connection->state_bytes < sizeof client->state) {
        memcpy(client->state, connection->state, client->bytes = connection->state_bytes);
        client->name = strcspn(client->state, "\n") + 1;
    }
}

static void say_to_all(struct client *from, size_t bytes)
{
    struct iovec parts[3] = { { from->state, from->name - 1 }, { ": ", 2 }, { from->state + from->name, bytes } };
    struct msghdr line = { .msg_iov = parts, .msg_iovlen = 3 };
    for (int at = 0; at < count; at++) {
        ssize_t sent = sendmsg(clients[at].connection.fd, &line, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0 && (size_t)sent < from->name + 1 + bytes) /* It reads too slowly, and has half a line. */
            shutdown(clients[at].connection.fd, SHUT_RDWR);
    }
}

/* Returns 0 if the client is gone. */
static int read_from(struct client *client)
{
    char *text, *end = client->state + client->bytes;
    ssize_t received = recv(client->connection.fd, end, sizeof client->state - client->bytes, MSG_DONTWAIT);
    client->bytes += received > 0 ? (size_t)received : 0;
    while ((end = memchr(text = client->state + client->name, '\n', client->bytes - client->name)) != NULL) {
        size_t said = client->name > 1 ? (size_t)(end + 1 - text) : 1;
        if (client->name > 1)
            say_to_all(client, said);
        else /* The first newline goes, and the line up to the second is the name. */
            text = client->state, client->name = (size_t)(end - text);
        client->bytes -= said;
        memmove(text, text + said, client->bytes - (size_t)(text - client->state));
    }
    return received > 0 || (received < 0 && errno == EAGAIN);
}

int main(void)
{
    reactord_connection connection;
    reactord_worker *worker = reactord_worker_create();
    struct pollfd *polled = NULL;
    if (worker == NULL || reactord_worker_gives_back(worker) < 0 || reactord_worker_want(worker, 900) < 0)
        return perror("REACTORD_QUEUE"), 1;
    while (count > 0 || !reactord_worker_may_exit(worker)) {
        polled = realloc(polled, (size_t)(count + 1) * sizeof *polled);
        for (int at = 0; at < count; at++)
            polled[at] = (struct pollfd){ clients[at].connection.fd, POLLIN, 0 };
        polled[count] = (struct pollfd){ reactord_worker_fd(worker), reactord_worker_events(worker), 0 };
        poll(polled, (nfds_t)count + 1, reactord_worker_owes(worker) > 0 ? 10 : -1);
        for (int at = count; at-- > 0;) {
            struct client *client = &clients[at];
            if (polled[at].revents != 0 && !read_from(client))
                close(client->connection.fd), reactord_worker_done(worker, &client->connection);
            else if (reactord_worker_owes(worker) == 0
                     || reactord_worker_back(worker, &client->connection, client->state, client->bytes) < 0)
                continue;
            *client = clients[--count];
            reactord_worker_want(worker, 1);
        }
        while (reactord_worker_try_accept(worker, &connection) == 1)
            add(&connection);
    }
    reactord_worker_close(worker);
    return 0;
}
