/* A worker that serves one client at a time: it says who serves whom, and echoes.
 *
 *     cc -std=c99 -I include -o worker examples/worker.c && reactord supervise -p 1234 --workers 4 -- ./worker */
#define REACTORD_WORKER_IMPLEMENTATION
#include "reactord_worker.h"

static void serve(const reactord_connection *client)
{
    char buffer[4096];
    int length = snprintf(buffer, sizeof buffer, "worker %d, client %s, server %s\n", (int)getpid(), client->peer, client->local);
    ssize_t bytes = length;
    while (bytes > 0 && send(client->fd, buffer, (size_t)bytes, MSG_NOSIGNAL) == bytes)
        bytes = recv(client->fd, buffer, sizeof buffer, 0);
    shutdown(client->fd, SHUT_RDWR);
}

int main(void)
{
    reactord_connection client;
    int result;
    reactord_worker *worker = reactord_worker_create();
    if (worker == NULL) {
        perror("REACTORD_QUEUE");
        return 1;
    }
    while ((result = reactord_worker_accept(worker, &client)) == 1) {
        if (reactord_worker_acknowledge(worker, &client) == 0)
            serve(&client);
        close(client.fd);
        reactord_worker_done(worker, &client);
    }
    if (result < 0)
        perror("accept");
    reactord_worker_close(worker);
    return result < 0;
}
