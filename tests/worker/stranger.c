/* Tries to get at descriptor N of process PID, in every way there is, and prints what came of each. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static void print(const char *what, long result)
{
    const char *name = errno == EPERM ? "EPERM" : errno == EACCES ? "EACCES" : errno == ENXIO ? "ENXIO" : strerror(errno);
    printf("%s %s\n", what, result < 0 ? name : "OK");
}

int main(int argc, char **argv)
{
    char path[64], target[64];
    long pid = argc == 3 ? atol(argv[1]) : 0, number = argc == 3 ? atol(argv[2]) : 0, process;

    snprintf(path, sizeof path, "/proc/%ld/fd/%ld", pid, number);
    print("open", open(path, O_RDWR));
    print("readlink", readlink(path, target, sizeof target));
    process = syscall(SYS_pidfd_open, pid, 0);
    print("pidfd_open", process);
    print("pidfd_getfd", syscall(SYS_pidfd_getfd, process, number, 0));
    print("ptrace", ptrace(PTRACE_SEIZE, (pid_t)pid, NULL, NULL));
    return 0;
}
