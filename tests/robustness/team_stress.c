/* Every row of a job is done once, by no thread beyond those allowed, whoever calls at the same time, and in a child of a
   fork amid all that. ThreadSanitizer watches it in sanitizers.sh; callers hardly ever back off here. */
#define TEAM_MAX_BACKOFF UINT64_C(16)
#include "threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    int64_t *out;
    int number, threads;
} Job;

static void work(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const Job *const job = shared;
    if (thread < 0 || thread >= job->threads)
        abort();
    for (ptrdiff_t i = first; i < end; i++)
        job->out[i] += job->number + i;
}

static void *call(void *seed)
{
    int64_t out[400];
    unsigned s = (unsigned)(intptr_t)seed;
    for (int number = 0; number < 3000; number++) {
        const int rows = 1 + rand_r(&s) % 400, threads = 2 + rand_r(&s) % (TEAM_MAX - 1);
        Job job = {out, number, threads};
        memset(out, 0, sizeof out);
        team_run(threads, rows, 1 + rand_r(&s) % 7, work, &job);
        for (int i = 0; i < rows; i++)
            if (out[i] != number + i)
                abort();
        if (number % 500 == 0)
            usleep(1000); /* so that workers fall asleep */
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t callers[3];
    (void)argv;
    pthread_atfork(NULL, NULL, team_after_fork);
    for (intptr_t i = 0; i < 3; i++)
        pthread_create(callers + i, NULL, call, (void *)i);
    for (int i = 0; argc > 1 && i < 20; i++) { /* with an argument: ThreadSanitizer does not follow forks */
        usleep(3000);
        const pid_t child = fork();
        int status;
        if (child == 0) {
            alarm(20);
            call((void *)9);
            _exit(team.workers == 0); /* had it found the team busy, it would have done all alone */
        }
        waitpid(child, &status, 0);
        if (status)
            return 1;
    }
    for (int i = 0; i < 3; i++)
        pthread_join(callers[i], NULL);
    puts("the team: every row once");
    return 0;
}
