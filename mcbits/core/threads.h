/* Every row of a job is done exactly once, part by part, by the caller or a worker, and the call returns when all are done.

   One word, the ticket, says what there is to do. Whoever adds one to it has taken the part it named:

       63           48 47           32 31           16 15            0
      +---------------+---------------+---------------+---------------+
      |       0       |  last thread  | parts of job  |   next part   |    open to thread t: next part < parts of job,
      +---------------+---------------+---------------+---------------+                      and t <= last thread

   Workers spin for the next job up to a limit before they sleep, since waking one takes longer than many jobs do. Where other
   processes want the processors, spinning workers take them from callers, and a worker may be preempted in the middle of a part.
   Then callers back off: they do without workers for a while. A second caller finds the team busy and does its job alone. */
#ifndef MCBITS_TEAM_H
#define MCBITS_TEAM_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define TEAM_MAX 16                         /* threads, the caller included */
#define TEAM_MAX_PARTS (1 << 10)            /* of a job; it must fit in 16 bits */
#define TEAM_SPIN_LIMIT UINT64_C(300000)    /* ns that a worker spins before it sleeps */
#define TEAM_SPINS_PER_CLOCK 64             /* spins between two readings of the clock */
#define TEAM_PREEMPTION UINT64_C(1000000)   /* ns: who is away for longer has been preempted */
#ifndef TEAM_MAX_BACKOFF
#define TEAM_MAX_BACKOFF UINT64_C(100000000) /* ns; the first backoff is a sixteenth of it */
#endif

/* Does the rows first ... end - 1 of a job; threads count from 0, the caller. */
typedef void (*TeamWork)(void *job, ptrdiff_t first, ptrdiff_t end, int thread);

static struct {
    uint64_t ticket;         /* see above; atomic */
    TeamWork work;           /* the job at hand: written by its caller before the ticket, which publishes them */
    void *job;
    ptrdiff_t rows, parts;
    ptrdiff_t done;          /* parts of it that are done; atomic */
    uint64_t backoff_end;    /* ns: until then callers do without workers; atomic */
    uint64_t backoff;        /* ns: the length of the last backoff; atomic */
    int busy;                /* whether a caller has the team; atomic */
    int asleep;              /* workers that sleep, or are about to; atomic, written under the lock */
    int workers;             /* that have been started; only the caller that has the team reads or writes it */
    pthread_mutex_t lock;    /* of `wake` */
    pthread_cond_t wake;
} team = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void team_spin(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline int team_open(uint64_t ticket, int thread)
{
    return (ticket & 0xFFFF) < (ticket >> 16 & 0xFFFF) && thread <= (int)(ticket >> 32);
}

/* Take parts of the job at hand until none is left. */
static void team_run_parts(int thread)
{
    uint64_t ticket = __atomic_load_n(&team.ticket, __ATOMIC_ACQUIRE);
    while (team_open(ticket, thread))
        if (__atomic_compare_exchange_n(&team.ticket, &ticket, ticket + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            /* A job does not end before this part of it does, so that team.job is still the one whose part was taken. */
            const ptrdiff_t part = (ptrdiff_t)(ticket & 0xFFFF);
            team.work(team.job, team.rows * part / team.parts, team.rows * (part + 1) / team.parts, thread);
            __atomic_fetch_add(&team.done, 1, __ATOMIC_RELEASE);
            ticket = __atomic_load_n(&team.ticket, __ATOMIC_ACQUIRE);
        }
}

static uint64_t team_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* A worker has been preempted. That happens on an idle machine too, so the backoff is long only where the last one is not long
   ago: it doubles then, up to the maximum. */
static void team_back_off(uint64_t now)
{
    const uint64_t end = __atomic_load_n(&team.backoff_end, __ATOMIC_RELAXED), last = __atomic_load_n(&team.backoff, __ATOMIC_RELAXED);
    if (now < end)
        return;
    const uint64_t twice = 2 * last < TEAM_MAX_BACKOFF ? 2 * last : TEAM_MAX_BACKOFF;
    const uint64_t next = now > end + TEAM_MAX_BACKOFF ? TEAM_MAX_BACKOFF / 16 : twice;
    __atomic_store_n(&team.backoff, next, __ATOMIC_RELAXED);
    __atomic_store_n(&team.backoff_end, now + next, __ATOMIC_RELAXED);
}

/* The life of a worker: run parts, spin for the next job, sleep until one comes. */
static void *team_worker(void *argument)
{
    const int thread = (int)(intptr_t)argument;
    for (;;) {
        team_run_parts(thread);
        const uint64_t begin = team_now();
        uint64_t before, now = begin;
        int open;
        do {
            open = 0;
            for (int i = 0; i < TEAM_SPINS_PER_CLOCK && !open; i++) {
                team_spin();
                open = team_open(__atomic_load_n(&team.ticket, __ATOMIC_RELAXED), thread);
            }
            sched_yield(); /* to a caller on the same processor, for one */
            before = now;
            now = team_now();
            if (now - before > TEAM_PREEMPTION)
                team_back_off(now);
        } while (!open && now - begin < TEAM_SPIN_LIMIT && now - before <= TEAM_PREEMPTION);
        if (open)
            continue;
        pthread_mutex_lock(&team.lock);
        __atomic_fetch_add(&team.asleep, 1, __ATOMIC_SEQ_CST);
        while (!team_open(__atomic_load_n(&team.ticket, __ATOMIC_SEQ_CST), thread))
            pthread_cond_wait(&team.wake, &team.lock);
        __atomic_fetch_sub(&team.asleep, 1, __ATOMIC_SEQ_CST);
        pthread_mutex_unlock(&team.lock);
    }
    return NULL;
}

/* In the child of a fork there is no thread but the caller, whatever the others were doing. */
static void team_after_fork(void)
{
    team.ticket = 0;
    team.busy = team.asleep = team.workers = 0;
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.wake, NULL);
}

static void team_start_workers(int workers)
{
    sigset_t all, before;
    /* Signals are for the threads that know what to do with them, but for those of what a worker itself does wrong. */
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team.workers < workers) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, team_worker, (void *)(intptr_t)(team.workers + 1)))
            break;
        pthread_detach(thread);
        team.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* `grain`: as many rows as pay for being taken by another thread. */
static inline ptrdiff_t team_parts(ptrdiff_t rows, ptrdiff_t grain)
{
    const ptrdiff_t parts = (rows + grain - 1) / grain;
    return parts < TEAM_MAX_PARTS ? parts : TEAM_MAX_PARTS;
}

/* Do the job of rows 0 ... rows - 1 in team_parts() parts, on at most `threads` threads, which is at most TEAM_MAX. */
static void team_run(int threads, ptrdiff_t rows, ptrdiff_t grain, TeamWork work, void *job)
{
    const ptrdiff_t parts = team_parts(rows, grain), wanted = (parts < threads ? parts : threads) - 1;
    if (wanted < 1 || __atomic_exchange_n(&team.busy, 1, __ATOMIC_ACQUIRE)) {
        if (rows > 0)
            work(job, 0, rows, 0);
        return;
    }
    if (team_now() < __atomic_load_n(&team.backoff_end, __ATOMIC_RELAXED)) {
        __atomic_store_n(&team.busy, 0, __ATOMIC_RELEASE);
        work(job, 0, rows, 0);
        return;
    }
    if (team.workers < wanted)
        team_start_workers((int)wanted);
    team.work = work;
    team.job = job;
    team.rows = rows;
    team.parts = parts;
    __atomic_store_n(&team.done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&team.ticket, (uint64_t)(threads - 1) << 32 | (uint64_t)parts << 16, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&team.asleep, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&team.lock);
        for (ptrdiff_t i = 0; i < wanted; i++)
            pthread_cond_signal(&team.wake);
        pthread_mutex_unlock(&team.lock);
    }
    const uint64_t begin = team_now();
    team_run_parts(0);
    /* A worker's last part may have been begun when the caller's was, so it has as long as all of the caller's parts took. */
    const uint64_t end = team_now(), late = end + (end - begin) + TEAM_PREEMPTION;
    for (unsigned spins = 1; __atomic_load_n(&team.done, __ATOMIC_ACQUIRE) < parts; spins++)
        if (spins % TEAM_SPINS_PER_CLOCK)
            team_spin();
        else if (team_now() > late) {
            team_back_off(team_now());
            sched_yield();
        }
    __atomic_store_n(&team.busy, 0, __ATOMIC_RELEASE);
}

#endif
