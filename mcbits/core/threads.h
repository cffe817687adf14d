/* The rows of a job are done once each, part by part, by the caller and by helpers that take what nobody has begun, and the
   call returns when all are done.

   Helpers look for the next job for a while before they sleep, since waking one takes longer than many jobs do. Where others want
   the processors, helpers that look take them from callers, and may be put aside in the middle of a part: callers do without
   helpers for a while then. A second caller finds the team busy and does its rows alone. */
#ifndef MCBITS_TEAM_H
#define MCBITS_TEAM_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define TEAM_MAX 16                    /* threads, the caller included */
#define TEAM_PARTS 1024                /* of a job at most */
#define TEAM_PATIENCE UINT64_C(300000) /* ns that a helper looks for a job before it sleeps */
#define TEAM_LOOKS 64                  /* between two looks at the clock */
#define TEAM_ABSENCE UINT64_C(1000000) /* ns that a helper is late or away only where its processor is wanted by others */
#ifndef TEAM_REST
#define TEAM_REST UINT64_C(100000000)  /* ns without helpers after that at most; at first a sixteenth */
#endif

/* Rows first ... end - 1 of a job; threads count from 0, the caller. */
typedef void (*TeamWork)(void *job, ptrdiff_t first, ptrdiff_t end, int thread);

static struct {
    /* The last thread that may take parts, the number of parts and the next of them in one word (16 bits each): who moves
       the next on has taken it, whatever job it was looking for. */
    uint64_t ticket;
    TeamWork work;
    void *job;
    ptrdiff_t rows, parts, done;
    uint64_t rest, length; /* until when callers do without helpers, and for how long that was */
    int busy, asleep, helpers;
    pthread_mutex_t lock;
    pthread_cond_t wake;
} team = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void team_pause(void)
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

/* Parts of the job at hand until none is left. */
static void team_take(int thread)
{
    uint64_t ticket = __atomic_load_n(&team.ticket, __ATOMIC_ACQUIRE);
    while (team_open(ticket, thread))
        if (__atomic_compare_exchange_n(&team.ticket, &ticket, ticket + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            /* The job does not end before this part does, so that these are still its own. */
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

/* A helper was late or away. That happens on an idle machine too, so that only who is soon late again rests for long. */
static void team_disturb(uint64_t now)
{
    const uint64_t rest = __atomic_load_n(&team.rest, __ATOMIC_RELAXED), length = __atomic_load_n(&team.length, __ATOMIC_RELAXED);
    if (now < rest)
        return;
    const uint64_t next = now > rest + TEAM_REST ? TEAM_REST / 16 : 2 * length < TEAM_REST ? 2 * length : TEAM_REST;
    __atomic_store_n(&team.length, next, __ATOMIC_RELAXED);
    __atomic_store_n(&team.rest, now + next, __ATOMIC_RELAXED);
}

static void *team_help(void *argument)
{
    const int thread = (int)(intptr_t)argument;
    for (;;) {
        team_take(thread);
        const uint64_t begin = team_now();
        uint64_t before, now = begin;
        int open;
        do {
            open = 0;
            for (int i = 0; i < TEAM_LOOKS && !open; i++) {
                team_pause();
                open = team_open(__atomic_load_n(&team.ticket, __ATOMIC_RELAXED), thread);
            }
            sched_yield(); /* to a caller on the same processor, for one */
            before = now;
            now = team_now();
            if (now - before > TEAM_ABSENCE)
                team_disturb(now);
        } while (!open && now - begin < TEAM_PATIENCE && now - before <= TEAM_ABSENCE);
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

/* In the child of a fork there is nobody but the caller, whatever the others were doing. */
static void team_orphan(void)
{
    team.ticket = 0;
    team.busy = team.asleep = team.helpers = 0;
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.wake, NULL);
}

static void team_grow(int helpers)
{
    sigset_t all, before;
    /* Signals are for the threads that know what to do with them, but for those of what a helper itself does wrong. */
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team.helpers < helpers) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, team_help, (void *)(intptr_t)(team.helpers + 1)))
            break;
        pthread_detach(thread);
        team.helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* `grain`: as many rows as pay for being taken by another thread. */
static inline ptrdiff_t team_parts(ptrdiff_t rows, ptrdiff_t grain)
{
    const ptrdiff_t parts = (rows + grain - 1) / grain;
    return parts < TEAM_PARTS ? parts : TEAM_PARTS;
}

/* work() of 0 ... rows - 1 in team_parts() parts, on at most `threads` threads, which is at most TEAM_MAX. */
static void team_share(int threads, ptrdiff_t rows, ptrdiff_t grain, TeamWork work, void *job)
{
    const ptrdiff_t parts = team_parts(rows, grain), wanted = (parts < threads ? parts : threads) - 1;
    if (wanted < 1 || __atomic_exchange_n(&team.busy, 1, __ATOMIC_ACQUIRE)) {
        if (rows > 0)
            work(job, 0, rows, 0);
        return;
    }
    if (team_now() < __atomic_load_n(&team.rest, __ATOMIC_RELAXED)) {
        __atomic_store_n(&team.busy, 0, __ATOMIC_RELEASE);
        work(job, 0, rows, 0);
        return;
    }
    if (team.helpers < wanted)
        team_grow((int)wanted);
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
    team_take(0);
    /* A helper's last part may have been begun when the caller's was. */
    const uint64_t end = team_now(), late = end + (end - begin) + TEAM_ABSENCE;
    for (unsigned looks = 1; __atomic_load_n(&team.done, __ATOMIC_ACQUIRE) < parts; looks++)
        if (looks % TEAM_LOOKS)
            team_pause();
        else if (team_now() > late) {
            team_disturb(team_now());
            sched_yield();
        }
    __atomic_store_n(&team.busy, 0, __ATOMIC_RELEASE);
}

#endif
