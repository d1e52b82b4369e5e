/* The protocol of the write-through cache, for one key. The checker `spin` tries
 * every interleaving of this model: `python -m cachelayer.spec.check`.
 *
 * How to read it. One step is one `atomic { }`: a command to Redis, a statement
 * to Postgres, or a fault. Any other step may come between two steps. `if` and `do`
 * choose freely among the `::` whose first statement can be executed, and wait while
 * there is none. `(a -> b : c)` is C's `a ? b : c`.
 *
 * A process that is killed takes no further step. Every interleaving is tried, also
 * those in which a process never moves again. So the model needs no step for a kill,
 * only for what Postgres does then: it rolls back.
 *
 * The model proves the assertions at HIT: a row that a reader takes from Redis is
 * the row that Postgres has at that moment. So every read is exact at some moment
 * between its beginning and its end, a write counts from its COMMIT on (also if the
 * writer is killed), and the key is a linearizable register. `null` (known absent)
 * is a row like any other. Rows are committed versions.
 *
 * WRITERS run one transaction each, READERS read forever, RECONCILERS are
 * `cache_repair`; FAULTS is how often Redis may lose its data. Other macros:
 *   PARTITION   any process may get no answer from Redis at any time
 *   STRICT      the strict mode
 *   SERVERS=2   two servers are alive; commands are led to the other one LEADS times,
 *               from START on: a failover and back, a split brain, a silent proxy
 *   UNLOCKED    the row consists of several tables: writers have no lock in common
 *   UNFOLLOWED  the number of writers that are psql, which never marks
 *   LIVENESS    check that the gate closes again, instead of stale reads
 *   VARIANT     two releases that render differently run side by side: the number of
 *               readers of the second release, which has another key, the variant;
 *               REMOVERS remove the variant at any time
 * `configurations.py` sets the values; each of `mutants/` removes one part of the protocol. */
#define PROCESSES (WRITERS + READERS + RECONCILERS + REMOVERS)
#define BIT(p) (1 << (p))

/* ---- Postgres ---- */
byte db = 0;               /* the row's committed version */
byte begun = 0;            /* the transactions that have begun; a writer's number is its xid */
byte ended = 0;            /* and those that have ended, one way or the other */
byte log = 0;              /* the repair log: which writers' rows in it are committed */
#define RUNNING (begun & ~ended)
/* Writers that are alike begin in the order of their numbers: which of them is called the first
 * changes nothing, and half of the interleavings need not be tried. */
#define IN_ORDER(w) (w == 0 || w >= WRITERS - UNFOLLOWED || begun & BIT(w - 1))
/* The epoch is a sequence; all processes see its last value at once. Only equality
 * matters, so an epoch is stored as its age: 1 is the last value, 0 is none. */
#define LAST_VALUE 1
byte known[PROCESSES];            /* the epoch that a process has been told, while that matters */

/* ---- Redis: on each server the plain key and its variant, and the incarnation ---- */
#define ABSENT   0
#define ROW(v)   (1 + (v))
#define LEASE(r) (8 + (r))
/* Marks are a list, each with its writer's xid. The model keeps which marks are in
 * the list, and which is the last. LATE is a mark without an answer; it may arrive
 * at any time or never. REPAIR is a mark of no transaction; its xid has ended. */
#define MINE(w)  (w)
#define LATE(w)  (3 + (w))
#define REPAIR   6
#define MARKS(set, last) (32 + 8 * (set) + (last))
#define SET(c)   (((c) - 32) / 8)
#define LAST(c)  (((c) - 32) % 8)
#define XIDS(c)  (IS_MARKS(c) -> (SET(c) | SET(c) / 8) & 7 : 0)
#define IS_ROW(c)   ((c) > ABSENT && (c) < LEASE(0))
#define IS_MARKS(c) ((c) >= 32)
#define APPENDED(c, m) MARKS((IS_MARKS(c) -> SET(c) : 0) | BIT(m), m)

mtype = { NONE, SETTLING, TRUSTED };
short key_of[2 * SERVERS];
mtype state_of[SERVERS];
byte epoch_of[SERVERS];
bool own_of[SERVERS];      /* whether the incarnation was written on this very server */
byte at = START;           /* the server to which commands are led just now */
#define cache   key_of[at]                             /* the plain key: every writer marks it */
#define variant key_of[SERVERS + at]
#define state   state_of[at]
#define its     epoch_of[at]
#define own     own_of[at]
#define BELIEVED_IN(e) (state == TRUSTED && own && its == e)
#define BELIEVED BELIEVED_IN(LAST_VALUE)

/* The variant holds a row or a lease, never a mark: the marks of the plain key count for it, too.
 * While it is registered, each mark deletes it. While it is CLOSING and a process deletes its
 * rows, each mark still deletes it, but nothing new is stored. Each attempt to remove it has
 * another token. */
#define LIVE       1
#define CLOSING(p) (2 + (p))
byte registered_of[SERVERS];
#define registered registered_of[at]
#define SECOND(r)  ((r) >= WRITERS + READERS - VARIANT)                /* the release of a reader */
#define KEY(r)     key_of[(SECOND(r) -> SERVERS : 0) + at]

bool up = true;
byte late = 0;             /* writers whose mark got no answer and has not arrived */

/* ---- Each process: its gate ----
 * OPEN       Redis is not used; the last probe is less than a probe interval ago
 * DUE        it is longer ago, or a lease was refused: probe before anything else
 * BROKEN     the connection broke, but the process has not noticed
 * MARKING    connected, but not to a trusted server: writes mark and push, reads use Postgres
 * TRUSTING   connected to a server that was trusted at the probe */
#define OPEN     0
#define DUE      1
#define BROKEN   2
#define MARKING  3
#define TRUSTING 4
byte gate[PROCESSES];
#define CONNECTED(p) (gate[p] >= MARKING)
#define LOOK(p) (!up -> OPEN : (p >= WRITERS && BELIEVED -> TRUSTING : MARKING))

/* Before a command to Redis. A new connection probes first, and a broken connection
 * is replaced by a new one at once; any other gate may probe (a new thread, for example). */
inline reach(p) {
  if
#ifndef LIVENESS                                       /* there: probes once per second */
  :: gate[p] == OPEN || CONNECTED(p)
#endif
#if SERVERS == 1                                       /* else: led elsewhere after any probe */
  :: gate[p] = LOOK(p)
#endif
#ifdef PARTITION
  :: p < WRITERS -> gate[p] = OPEN                     /* no answer in time, asked twice */
  :: p < WRITERS -> gate[p] = LOOK(p)
#endif
  fi
}

/* ---- The strict mode ---- */
byte outage = 0;           /* 1: a row in Postgres declares that a process writes without marks;
                            * 2: and a process that will delete the row has locked it */
byte held = 0;             /* the processes that rely on it: their transactions share-lock it */
byte trust[PROCESSES];            /* the epoch in which a process has seen no such row within the
                            * last second; 0: it has not */
#define NOBODY_TRUSTS (trust[WRITERS] == 0 && trust[WRITERS + READERS - 1] == 0)

/* A commit without a mark waits until every trust from before the declaration
 * has run out. The share lock keeps the declaration from being lifted. */
inline declare(p) {
  do
  :: atomic { outage == 0 -> outage = 1 }              /* INSERT, in a transaction of its own */
  :: atomic { outage == 1 -> held = held | BIT(p); break }           /* FOR SHARE; waits at 2 */
  od;
  NOBODY_TRUSTS                                        /* a second passes */
}

/* ---- A writer: UPDATE (row lock), mark, COMMIT, push or release ---- */
inline append(m) {
  cache = APPENDED(cache, m);
#if VARIANT > 0
  if :: registered -> variant = ABSENT :: else fi
#endif
}

inline mark() {
  do
  :: atomic {
       reach(w);
       if
       :: CONNECTED(w) -> append(MINE(w)); answered = true;
          counts = (own && its == known[w]); break
#ifdef PARTITION
       :: CONNECTED(w) -> late = late | BIT(w)         /* no answer in time: again, new token */
       :: CONNECTED(w) -> late = late | BIT(w); gate[w] = OPEN; break
#endif
       :: gate[w] == OPEN -> break                     /* on without a mark, but with the log */
       :: gate[w] == BROKEN || gate[w] == DUE          /* again */
       fi
     }
  od
}

/* LAST: no writer has marked behind me, so no row is newer than mine. TRUSTED: a sweep may have
 * passed the variant, but not the plain key yet. */
#define PUSHES_VARIANT \
  (second && registered == LIVE && state == TRUSTED && IS_MARKS(cache) && LAST(cache) == w)

inline push_or_release() {
  do
  :: atomic {
       reach(w);
       if
       :: gate[w] == OPEN -> break
       :: gate[w] == BROKEN || gate[w] == DUE
       :: CONNECTED(w) ->
#if VARIANT > 0
          if :: PUSHES_VARIANT -> variant = mine :: else fi;
          if :: second -> mine = ABSENT :: else fi;    /* the plain key has the first's bytes */
#endif
          if
          :: !IS_MARKS(cache) -> cache = ABSENT        /* mine was lost */
          :: IS_MARKS(cache) && !(SET(cache) & BIT(w)) /* mine was taken over: leave the others */
          :: IS_MARKS(cache) && SET(cache) & BIT(w) ->
             if
             :: LAST(cache) != w -> cache = MARKS(SET(cache) & ~BIT(w), LAST(cache))
             :: LAST(cache) == w && mine -> cache = mine
             :: LAST(cache) == w && !mine ->
                cache = (SET(cache) == BIT(w) -> ABSENT :
                         MARKS((SET(cache) & ~BIT(w)) | BIT(REPAIR), REPAIR))
             fi
          fi; break
       fi
     }
  od
}

proctype Writer(byte w) {
  bool answered = false, counts = false, second = false;               /* of the second release */
  byte mine = ABSENT;                                  /* what to push; ABSENT: release */
  atomic { reach(w) }                                  /* for an earlier request */
  atomic {
#ifdef UNLOCKED
    IN_ORDER(w) ->
    begun = begun | BIT(w); known[w] = LAST_VALUE      /* INSERT of a link */
#else
    IN_ORDER(w) && !RUNNING ->                         /* UPDATE: the row lock */
    begun = begun | BIT(w); known[w] = LAST_VALUE;
    if :: mine = ROW(db + 1) :: true fi                /* cannot be rendered, another isolation */
#if VARIANT > 0
    ; if :: mine -> second = true :: true fi
#endif
#endif
  }
  if :: w < WRITERS - UNFOLLOWED -> mark() :: else fi;
#ifdef STRICT
  if :: counts :: else -> declare(w) fi;
#endif
  atomic {
    if
    :: db++; log = (counts -> log : log | BIT(w))      /* COMMIT, of the log too */
    :: mine = ABSENT                                   /* ROLLBACK: an error, or killed */
    fi;
    ended = ended | BIT(w); held = held & ~BIT(w); known[w] = 0; counts = false
  }
  if :: answered -> push_or_release() :: else fi;
  atomic { answered = false; mine = ABSENT; second = false; gate[w] = OPEN }
}

/* ---- A reader: GET; no row: lease, SELECT, fill. Any other read is a SELECT, which
 * is exact and leaves no trace, so the model just goes back to `start`. ---- */
#define FREE(c) (!(XIDS(c) & ~ended))                  /* what a lease may replace */
#if VARIANT > 0
#define LEASABLE(r)   (FREE(KEY(r)) && (!SECOND(r) || (registered == LIVE && FREE(cache))))
#define TAKE_PLAIN(r) cache = (SECOND(r) && IS_MARKS(cache) -> ABSENT : cache)
#else
#define LEASABLE(r)   FREE(KEY(r))
#define TAKE_PLAIN(r) skip
#endif

proctype Reader(byte r) {
  byte row = 0, seen = 0;
start:
#ifdef STRICT
  atomic { trust[r] -> known[r] = trust[r]; seen = ROW(db) }
#endif
  atomic {
    reach(r);                                          /* GET, in strict with the incarnation */
    if
#ifdef STRICT
    :: gate[r] == TRUSTING && IS_ROW(KEY(r)) && BELIEVED_IN(known[r]) ->     /* HIT: */
       assert(KEY(r) >= seen)                          /* as of the check of trust, or later */
#else
    :: gate[r] == TRUSTING && IS_ROW(KEY(r)) ->        /* HIT: */
#if defined(PARTITION) || SERVERS > 1 || UNFOLLOWED > 0
       assert(KEY(r) == ROW(db) || log || !BELIEVED)   /* exact while the log is empty, and while
                                                        * a probe, once per second, trusts it */
#else
       assert(KEY(r) == ROW(db))                       /* exact */
#endif
#endif
#if SERVERS == 1
    :: gate[r] == TRUSTING && state != TRUSTED -> gate[r] = DUE        /* the lease is refused */
#endif
    /* The lease: for exactly the value that GET found, after pg_xact_status has said that the
     * transaction of each mark in it has ended. So the three are like one step. The lease of
     * the variant also checks the marks of the plain key, and removes them. */
    :: gate[r] == TRUSTING && state == TRUSTED && !IS_ROW(KEY(r)) && LEASABLE(r) ->
       TAKE_PLAIN(r); KEY(r) = LEASE(r); seen = 0; known[r] = 0; goto load
    :: else
    fi;
    seen = 0; known[r] = 0; goto start
  }
load:
  atomic { row = ROW(db) }                             /* SELECT */
  atomic {                                             /* fill */
    reach(r);
    if :: CONNECTED(r) && KEY(r) == LEASE(r) -> KEY(r) = row :: true fi;
    row = 0; goto start
  }
}

/* ---- cache_repair: drains the repair log, makes a new Redis trusted ---- */
inline repair(believed, named) {                       /* the key; a list of marks stays one */
  atomic {
    if
    :: CONNECTED(p) && believed ->
#if VARIANT > 0
       if :: registered && named -> variant = ABSENT :: else fi;
#endif
       cache = (IS_MARKS(cache) -> APPENDED(cache, REPAIR) : ABSENT)
    :: !CONNECTED(p) || !(believed) -> goto start
#ifdef PARTITION
    :: goto start                                      /* no answer in time, or killed */
#endif
    fi
  }
}

inline drain() {
  atomic { take = log;                                 /* SELECT of the rows and the epoch */
           if :: known[p] == 0 -> known[p] = LAST_VALUE
              :: known[p] == LAST_VALUE                /* mine is still the last */
              :: else -> goto start fi };
  if
  :: take -> repair(own && its == known[p], true);
             atomic { log = log & ~take; take = 0 }    /* DELETE */
  :: else
  fi
}

/* nextval: all remembered epochs become older by one, up to a number that is not in use. */
#define OLDER(e) e = (0 < e && e < i -> e + 1 : e)
inline nextval() {
  i = 0;
  do
  :: i++; used = (epoch_of[0] == i || epoch_of[SERVERS - 1] == i);
     for (j : 0 .. PROCESSES - 1) { used = used || known[j] == i || trust[j] == i };
     if :: used :: else -> break fi
  od;
  for (j : 0 .. PROCESSES - 1) { OLDER(known[j]); OLDER(trust[j]) }
  for (j : 0 .. SERVERS - 1) { OLDER(epoch_of[j]) }
  i = 0; j = 0; used = false
}

/* LIVENESS models what is implicit otherwise: a kill, and that the others find out; and the
 * advisory lock that a reconcile holds from its probe to its `settling`. (Without the lock
 * there is no stale read, but two reconcilers could delay each other forever.) */
#ifdef LIVENESS
byte dead = 0, settler = 0, beginner = 0;
#define BEGINS   atomic { !BELIEVED && beginner == 0 && !(state == SETTLING && own && \
                 its == LAST_VALUE && !(dead & BIT(settler))) -> beginner = p; break }
#define BEGUN(p) beginner = (beginner == p -> 0 : beginner)
#define SETTLES(p) BEGUN(p); settler = p
#define MAY_DIE  if :: atomic { p == PROCESSES - 1 -> dead = BIT(p); BEGUN(p); goto gone } \
                    :: true fi
#else
#define BEGINS   !BELIEVED -> break
#define BEGUN(p) skip
#define SETTLES(p) skip
#define MAY_DIE  skip
#endif
#define REPAIRS_COUNT (own && its == LAST_VALUE)
#define SETTLING_MINE (state == SETTLING && own && its == known[p])
#define HERE (cache != ABSENT)                         /* else no sweep comes to the plain key */
inline sweep_variant() {
  atomic { if :: CONNECTED(p) && SETTLING_MINE -> variant = ABSENT :: else -> goto start fi }
}

proctype Reconciler(byte p) {
  byte take = 0, noted = 0, i, j;
  bool lifting = false, used = false;
start:
  atomic {
    take = 0; noted = 0; known[p] = 0; BEGUN(p); held = held & ~BIT(p);
    if :: lifting -> outage = 1; lifting = false :: else fi;
    up -> gate[p] = MARKING                            /* a new connection */
  }
  do
  :: log && REPAIRS_COUNT -> drain(); known[p] = 0
#ifdef STRICT
  :: atomic { outage == 1 && !held && REPAIRS_COUNT -> outage = 2; lifting = true };  /* FOR UPDATE */
     drain();
     atomic { outage = 0; lifting = false; known[p] = 0 }            /* DELETE, COMMIT */
#endif
  :: BEGINS                                            /* also a settling that was abandoned */
  od;
#ifdef STRICT
  declare(p);
#endif
  atomic { nextval(); known[p] = LAST_VALUE; held = held & ~BIT(p) }
  MAY_DIE;
  atomic { if :: CONNECTED(p) -> state = SETTLING; own = true; its = known[p]; SETTLES(p)
              :: else -> goto start fi }
  MAY_DIE;
  atomic {                                             /* one probe interval passes */
    for (i : 0 .. PROCESSES - 1) { if :: gate[i] == OPEN -> gate[i] = DUE :: else fi };
    i = 0; noted = RUNNING                             /* who holds a lock on a cached table */
  }
#if VARIANT == 0
  atomic { !(noted & ~ended) -> noted = 0;             /* they have ended: the sweep */
           repair(SETTLING_MINE, HERE) }               /* of every key that this server has */
#else
  atomic { !(noted & ~ended) -> noted = 0 };           /* it comes to either key first */
  if
  :: repair(SETTLING_MINE, HERE); sweep_variant()
  :: sweep_variant(); repair(SETTLING_MINE, HERE)
  fi;
#endif
  MAY_DIE;
  drain();
  atomic { if :: CONNECTED(p) && SETTLING_MINE -> state = TRUSTED
              :: else fi;                              /* lost again, or another's: start again */
           goto start }
#ifdef LIVENESS
gone:
  false
#endif
}

/* ---- Removes a variant that has long been unused: closes it, deletes its rows and
 * leases, takes it off the register. A reader that still needs it may register it
 * again at any moment. ---- */
#if REMOVERS > 0
#define CLOSING_MINE (up && registered == CLOSING(p) && own && its == known[p])

proctype Remover(byte p) {
start:
  atomic { known[p] = 0; up && registered && REPAIRS_COUNT -> registered = CLOSING(p);
           known[p] = LAST_VALUE }
  atomic { if :: CLOSING_MINE -> variant = ABSENT :: else -> goto start fi }
  atomic { if :: CLOSING_MINE -> registered = 0 :: else fi; goto start }
}
#endif

/* ---- Faults ---- */
inline stop() {
  up = false; cache = ABSENT; variant = ABSENT; registered = 0; state = NONE; its = 0;
  for (i : 0 .. PROCESSES - 1) { if :: CONNECTED(i) -> gate[i] = BROKEN :: else fi }
  i = 0
}

proctype Environment() {
  byte faults = 0, led = 0, i = 0, v = 0;
  do
  :: atomic { cache != ABSENT && !IS_MARKS(cache) -> cache = ABSENT }   /* expiry, eviction, clear */
#if VARIANT > 0
  :: atomic { variant != ABSENT -> variant = ABSENT }
  :: atomic { up && registered != LIVE -> registered = LIVE }        /* a reader wants a lease */
#endif
#if FAULTS > 0
  :: atomic { faults < FAULTS -> cache = ABSENT; variant = ABSENT; registered = 0;
              state = NONE; its = 0; faults++ }                      /* FLUSHALL */
  :: atomic { faults < FAULTS -> state = NONE; its = 0; faults++ }   /* only that key is deleted */
#if SERVERS > 1
  :: atomic { faults < FAULTS -> key_of[1 - at] = cache; state_of[1 - at] = state;
              epoch_of[1 - at] = its; own_of[1 - at] = false; faults++;
              key_of[SERVERS + 1 - at] = variant;
              registered_of[1 - at] = registered }                   /* replication */
#else
  :: atomic { up && faults < FAULTS -> stop(); faults++ }
  :: atomic { !up -> up = true }                                     /* start, empty */
  :: atomic { !up -> up = true; own = false; state = TRUSTED; its = LAST_VALUE;    /* with old data */
              if
              :: select(v : 0 .. db); cache = ROW(v)
              :: select(v : 1 .. BIT(WRITERS) - 1); select(i : 0 .. WRITERS - 1);
                 if :: v & BIT(i) -> cache = MARKS(v, i) :: else fi
              :: select(v : WRITERS .. WRITERS + READERS - 1); cache = LEASE(v)
              fi;
#if VARIANT > 0
              if :: true :: registered = LIVE :: registered = CLOSING(PROCESSES - 1) fi;
              if :: registered -> select(v : 0 .. db); variant = ROW(v)
                 :: registered -> variant = LEASE(WRITERS + READERS - 1)
                 :: true fi;
#endif
              v = 0; i = 0 }
#endif
#endif
#if SERVERS > 1
  :: atomic { led < LEADS -> at = 1 - at; led++ }
#endif
#ifdef PARTITION
  :: atomic { late -> if :: late & 1 -> v = 0 :: late & 2 -> v = 1 :: late & 4 -> v = 2 fi;
              late = late & ~BIT(v); append(LATE(v)); v = 0 }    /* a late mark */
#endif
#ifdef STRICT
  :: atomic { outage == 1 && !held && !log -> outage = 0 }           /* any process lifts it */
  :: atomic { select(i : WRITERS .. WRITERS + READERS - 1);
              if :: trust[i] -> trust[i] = 0                         /* a second is over */
                 :: outage == 0 -> trust[i] = LAST_VALUE             /* asks Postgres */
                 :: else fi; i = 0 }
#endif
  od
}

init {
  byte i;
  atomic {
    for (i : 0 .. SERVERS - 1) { key_of[i] = ROW(0); state_of[i] = TRUSTED;
#if VARIANT > 0 && SERVERS > 1
                                key_of[SERVERS + i] = ROW(0); registered_of[i] = LIVE;
#endif
                                epoch_of[i] = LAST_VALUE }
    own_of[0] = true;                                   /* any other is a replica of this one */
    for (i : 0 .. PROCESSES - 1) {
      gate[i] = (i < WRITERS -> MARKING : TRUSTING);
      if
      :: i < WRITERS -> run Writer(i)
      :: i >= WRITERS && i < WRITERS + READERS -> run Reader(i)
      :: i >= WRITERS + READERS && i < PROCESSES - REMOVERS -> run Reconciler(i)
#if REMOVERS > 0
      :: i >= PROCESSES - REMOVERS -> gate[i] = DUE; run Remover(i)
#endif
      fi
    }
    run Environment()
  }
}

#ifdef LIVENESS
ltl closes { [] <> (gate[WRITERS] == TRUSTING) }
#endif
