/* Threads that go through a job's phases together. A phase is a number of units that any thread may take; a thread goes on when
   all units are done, whoever did them, so that one which the system has put to sleep delays nobody. */

#ifndef LORALOOP_POOL_H
#define LORALOOP_POOL_H

#include "simd.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MOST_THREADS 64
#define SPINS 3000     /* looks at a counter before a waiting thread offers its processor to others */

typedef struct {
    _Alignas(64) atomic_int next;
    _Alignas(64) atomic_int done;
    _Alignas(64) atomic_int ready;   /* units that others of the same phase wait for */
} phase;

typedef struct pool pool;

/* What one thread knows of a job. */
typedef struct {
    void *work;
    phase *phases;
    int at, thread;
} worker;

typedef void (*job)(worker *);
typedef void (*unit)(worker *, int);

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int threads;           /* that were started, the caller not counted */
    job run;
    void *work;
    phase *phases;
    int room, wanted;
    atomic_uint round;
    atomic_int inside;
};

static pool the_pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;   /* held by whoever runs a job */

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

INLINE void await(const atomic_int *counter, int count) {
    for (int spins = 0; atomic_load_explicit(counter, memory_order_acquire) < count; spins++) {
        relax();
        if (spins > SPINS) sched_yield();
    }
}

INLINE phase *this_phase(const worker *w) { return &w->phases[w->at - 1]; }

static void each(worker *w, int count, unit run) {
    phase *p = &w->phases[w->at++];
    for (int index; (index = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < count;) {
        run(w, index);
        atomic_fetch_add_explicit(&p->done, 1, memory_order_release);
    }
    await(&p->done, count);
}

static void *pool_main(void *argument) {
    pool *p = &the_pool;
    const int number = (int)(intptr_t)argument;
    unsigned seen = 0;
    for (;;) {
        for (int spins = 0; spins < SPINS && atomic_load_explicit(&p->round, memory_order_acquire) == seen; spins++) relax();
        pthread_mutex_lock(&p->lock);
        while (atomic_load(&p->round) == seen) pthread_cond_wait(&p->wake, &p->lock);
        seen = atomic_load(&p->round);
        const int take_part = p->run && number < p->wanted;
        worker w = {.work = p->work, .phases = p->phases, .thread = number};
        const job run = p->run;
        if (take_part) atomic_fetch_add(&p->inside, 1);
        pthread_mutex_unlock(&p->lock);
        if (!take_part) continue;
        run(&w);
        atomic_fetch_sub_explicit(&p->inside, 1, memory_order_release);
    }
    return NULL;
}

/* A fork has none of its parent's threads. */
static void pool_forked(void) {
    pool *p = &the_pool;
    pthread_mutex_init(&turn_lock, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->threads = 0;
    p->run = NULL;
    atomic_store(&p->inside, 0);
}

__attribute__((constructor)) static void pool_ready(void) { pthread_atfork(NULL, NULL, pool_forked); }

/* Runs a job of at most `phases` phases on `threads` threads, the caller among them; callers take turns. Returns 0, or 1 without memory. */
static int pool_run(job run, void *work, int phases, int threads) {
    pool *p = &the_pool;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (p->room < phases) {
        free(p->phases);
        p->phases = aligned_alloc(64, sizeof(phase) * (size_t)phases);
        p->room = p->phases ? phases : 0;
    }
    int failed = p->phases == NULL;
    if (!failed) {
        memset(p->phases, 0, sizeof(phase) * (size_t)phases);
        pthread_mutex_lock(&p->lock);
        while (p->threads < threads - 1) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, pool_main, (void *)(intptr_t)(p->threads + 1))) break;
            pthread_detach(thread);
            p->threads++;
        }
        p->run = run;
        p->work = work;
        p->wanted = threads;
        if (threads > 1) {
            atomic_fetch_add_explicit(&p->round, 1, memory_order_release);
            pthread_cond_broadcast(&p->wake);
        }
        pthread_mutex_unlock(&p->lock);
        worker w = {.work = work, .phases = p->phases};
        run(&w);
        pthread_mutex_lock(&p->lock);
        p->run = NULL;
        pthread_mutex_unlock(&p->lock);
        for (int spins = 0; atomic_load_explicit(&p->inside, memory_order_acquire); spins++) {
            relax();
            if (spins > SPINS) sched_yield();
        }
    }
    return failed;
}

#endif
