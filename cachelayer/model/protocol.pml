/* The protocol of the write-through cache, for one key. The checker `spin` tries
 * every interleaving of what stands here: `python -m cachelayer.model.check`.
 *
 * How to read it. One step is one `atomic { }`: a command to Redis, a statement
 * to Postgres, or something that befalls them; between two steps anything else
 * may come. `if` and `do` choose freely among the `::` whose first statement can
 * be executed, and wait while there is none; `(a -> b : c)` is C's `a ? b : c`.
 *
 * A process that is killed takes no further step. Every interleaving is tried,
 * also those in which somebody never moves again; so a kill needs no words, only
 * what Postgres does then: it rolls back.
 *
 * What is proved are the assertions at HIT: a row that a reader takes from Redis
 * is the row that Postgres has at that moment. So every read is exact at some
 * moment between its beginning and its end, a write counts from its COMMIT on
 * (also that of a killed writer), and the key is a linearizable register.
 * `null` (known absent) is a row like any other. Rows are committed versions.
 *
 * WRITERS run one transaction each, READERS read for ever, RECONCILERS are
 * `cache_repair`; FAULTS is how often Redis may lose its data. PARTITION: any
 * process may get no answer from Redis at any time. STRICT: the strict choice.
 * `variants.py` takes the protocol apart, one piece at a time. */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef READERS
#define READERS 3
#endif
#ifndef RECONCILERS
#define RECONCILERS 0
#endif
#ifndef FAULTS
#define FAULTS 0
#endif
#define PROCESSES (WRITERS + READERS + RECONCILERS)
#define BIT(p) (1 << (p))

/* ---- Postgres ---- */
#define FREE 255
byte db = 0;               /* the row's committed version */
byte lock = FREE;          /* the writer whose transaction holds the row lock */
byte log = 0;              /* the repair log: which writers' rows in it are committed */

/* ---- Redis: the key, and the incarnation ---- */
#define ABSENT   0
#define ROW(v)   (1 + (v))
#define MARK(w)  (16 + (w))
#define LEASE(r) (32 + (r))
#define IS_ROW   (cache > ABSENT && cache < MARK(0))
#define IS_MARK  (cache >= MARK(0) && cache < LEASE(0))
#define NOBODY   15        /* MARK(NOBODY): a mark that no writer will push */
byte cache = ABSENT;
byte guard = FREE;         /* the writer that was in flight when that mark was put */
byte late = 0;             /* writers whose mark got no answer: it may still arrive */

bool up = true;
mtype = { NONE, FOREIGN, SETTLING, TRUSTED };          /* FOREIGN: of another run of the server */
mtype incarnation = TRUSTED;
byte nonce = FREE;         /* the reconciler that wrote it */

/* ---- Each process: its gate ----
 * OPEN       no use of Redis; the last look is less than a probe interval ago
 * DUE        it is longer ago, or a lease was refused: look before anything else
 * BROKEN     the connection broke; nobody has noticed
 * MARKING    connected, but not to what is trusted: writes mark and push, reads use Postgres
 * TRUSTING   connected to what was trusted at the look */
#define OPEN     0
#define DUE      1
#define BROKEN   2
#define MARKING  3
#define TRUSTING 4
byte gate[PROCESSES];
#define CONNECTED(p) (gate[p] >= MARKING)
#define LOOK (!up -> OPEN : (incarnation == TRUSTED -> TRUSTING : MARKING))

/* ---- The strict choice ---- */
byte outage = 0;           /* 1: a row in Postgres says that somebody writes without marks;
                            * 2: and it is locked by who is about to delete it */
bool held = false;         /* it is share-locked by a transaction that writes without a mark */
byte trust = 0;            /* the processes that have seen no such row within the last second */

/* Before a command to Redis. A new connection looks first, and one that is broken
 * is replaced by a new one at once; any other gate may look (a probe, a new thread). */
inline reach(p) {
  atomic {
    if
    :: gate[p] == OPEN || CONNECTED(p)
    :: gate[p] = LOOK
#ifdef PARTITION
    :: gate[p] = OPEN                                  /* no answer in time, asked twice */
    :: CONNECTED(p) -> gate[p] = MARKING               /* no answer in time to one read or push */
#endif
    fi
  }
}

/* ---- A writer: UPDATE (row lock), mark, COMMIT, push ---- */
inline mark() {
  do
  :: reach(w);
     atomic {
       if
       :: CONNECTED(w) -> cache = MARK(w); marked = true; break
#ifdef PARTITION
       :: CONNECTED(w) -> late = late | BIT(w); gate[w] = OPEN; break    /* no answer in time */
#endif
       :: gate[w] == OPEN -> break                     /* on without a mark, but with the log */
       :: gate[w] == BROKEN || gate[w] == DUE          /* again */
       fi
     }
  od
}

inline push() {
  do
  :: reach(w);
     atomic {
       if
       :: CONNECTED(w) && cache == MARK(w) -> cache = mine; break        /* mine still stands */
       :: CONNECTED(w) && cache != MARK(w) && IS_MARK -> break           /* another's: leave it */
       :: CONNECTED(w) && cache != MARK(w) && !IS_MARK -> cache = ABSENT; break    /* was lost */
       :: gate[w] == OPEN -> break
       :: gate[w] == BROKEN || gate[w] == DUE
       fi
     }
  od
}

/* Strict: nobody commits without a mark before every trust from before the
 * announcement has run out. `held` keeps the announcement from being lifted. */
inline announce() {
  do
  :: atomic { outage == 0 -> outage = 1 }              /* INSERT, in a transaction of its own */
  :: atomic { outage == 1 -> held = true; break }      /* FOR SHARE; waits while it is lifted */
  od;
  trust == 0                                           /* a second passes */
}

proctype Writer(byte w) {
  bool marked = false;
  byte mine = ABSENT;                                  /* what to push; ABSENT: delete */
  reach(w);                                            /* for an earlier request */
  atomic { lock == FREE -> lock = w }                  /* UPDATE */
  mark();
#ifdef STRICT
  if :: marked :: else -> announce() fi;
#endif
  if
  :: atomic { db++; mine = ROW(db);                    /* COMMIT, of the log too */
              log = (marked -> log : log | BIT(w)); lock = FREE; held = false }
  :: atomic { lock = FREE; held = false }              /* ROLLBACK: an error, or killed */
  fi;
  if :: marked -> push() :: else fi
}

/* ---- A reader: GET; absent: lease, SELECT, fill. All else is a SELECT, which
 * is exact and leaves no trace; so it is simply the way back to `start`. ---- */
proctype Reader(byte r) {
  byte row = 0, seen = 0;
start:
#ifdef STRICT
  atomic { if :: trust & BIT(r) -> seen = ROW(db) :: else -> goto start fi }
#endif
  reach(r);
  atomic {                                             /* GET */
    if
    :: gate[r] == TRUSTING && cache == ABSENT -> seen = 0; goto lease
    :: gate[r] == TRUSTING && IS_ROW ->                /* HIT: */
#ifdef STRICT
       assert(cache >= seen)                           /* as of the look at the trust, or later */
#elif defined(PARTITION)
       assert(cache == ROW(db) || log)                 /* exact while the repair log is empty */
#else
       assert(cache == ROW(db))                        /* exact */
#endif
    :: else
    fi;
    seen = 0; goto start
  }
lease:
  atomic {
    if
    :: gate[r] == TRUSTING && incarnation == TRUSTED && cache == ABSENT -> cache = LEASE(r)
    :: gate[r] == TRUSTING && incarnation != TRUSTED -> gate[r] = DUE; goto start
    :: else -> goto start
    fi
  }
  atomic { row = ROW(db) }                             /* SELECT */
  reach(r);
  atomic {                                             /* fill */
    if :: CONNECTED(r) && cache == LEASE(r) -> cache = row :: else fi;
    row = 0; goto start
  }
}

/* ---- cache_repair: drains the repair log, makes a new Redis trusted ---- */
inline repair() {                                      /* the key; a mark becomes nobody's */
  atomic {
    if
    :: CONNECTED(p) && IS_MARK -> cache = MARK(NOBODY); guard = lock
    :: CONNECTED(p) && !IS_MARK -> cache = ABSENT
    :: !CONNECTED(p) -> goto start
#ifdef PARTITION
    :: goto start                                      /* no answer in time, or killed */
#endif
    fi
  }
}

inline drain() {
  take = log;                                          /* SELECT */
  if
  :: take -> repair(); atomic { log = log & ~take; take = 0 }        /* DELETE what was read */
  :: else
  fi
}

proctype Reconciler(byte p) {
  byte take = 0, noted = FREE, i;
  bool lifting = false;
start:
  atomic { take = 0; noted = FREE; if :: lifting -> outage = 1; lifting = false :: else fi }
  atomic { up -> gate[p] = MARKING }                   /* a new connection */
  do
  :: log -> drain()
#ifdef STRICT
  :: atomic { outage == 1 && !held -> outage = 2; lifting = true };  /* FOR UPDATE */
     drain();
     atomic { outage = 0; lifting = false }            /* DELETE, COMMIT */
#endif
  :: incarnation != TRUSTED -> break
  od;
  atomic { if :: CONNECTED(p) -> incarnation = SETTLING; nonce = p :: else -> goto start fi }
  repair();                                            /* every key that Redis has */
  atomic {                                             /* one probe interval passes */
    for (i : 0 .. PROCESSES - 1) { if :: gate[i] == OPEN -> gate[i] = DUE :: else fi }
    i = 0
  }
  noted = lock;                                        /* the transactions that run now */
  noted == FREE || lock != noted;                      /* they have ended */
  drain();
  atomic {
    if
    :: CONNECTED(p) && incarnation == SETTLING && nonce == p -> incarnation = TRUSTED; nonce = FREE
    :: else                                            /* lost again, or another's: start again */
    fi;
    goto start
  }
}

/* ---- What befalls them ---- */
inline stop() {
  up = false; cache = ABSENT; incarnation = NONE;
  for (i : 0 .. PROCESSES - 1) { if :: CONNECTED(i) -> gate[i] = BROKEN :: else fi }
  i = 0
}

proctype Environment() {
  byte faults = 0, i = 0, v = 0;
  do
  :: atomic { cache != ABSENT && !IS_MARK -> cache = ABSENT }        /* expiry, eviction, clear */
     /* A mark expires after the end of the transaction it stands for, and is not evicted. */
  :: atomic { IS_MARK && (cache == MARK(NOBODY) -> guard : cache - MARK(0)) != lock ->
              cache = ABSENT; guard = FREE }
#if FAULTS > 0
  :: atomic { faults < FAULTS -> cache = ABSENT; incarnation = NONE; faults++ }      /* FLUSHALL */
  :: atomic { faults < FAULTS -> incarnation = NONE; faults++ }      /* only this key is deleted */
  :: atomic { up && faults < FAULTS -> stop(); faults++ }
  :: atomic { !up -> up = true }                                     /* start, empty */
  :: atomic { !up -> up = true; incarnation = FOREIGN;               /* start, with old data */
              if
              :: select(v : 0 .. db); cache = ROW(v)
              :: select(v : 0 .. WRITERS - 1); cache = MARK(v)
              :: select(v : WRITERS .. WRITERS + READERS - 1); cache = LEASE(v)
              fi; v = 0 }
#endif
#ifdef PARTITION
  :: atomic { late -> late = late & (late - 1); cache = MARK(NOBODY); guard = lock } /* a late mark */
#endif
#ifdef STRICT
  :: atomic { select(i : WRITERS .. WRITERS + READERS - 1);
              if :: trust & BIT(i) -> trust = trust & ~BIT(i)        /* a second is over */
                 :: outage == 0 -> trust = trust | BIT(i)            /* reader i asks Postgres */
                 :: else fi; i = 0 }
#endif
  od
}

init {
  byte i;
  atomic {
    for (i : 0 .. PROCESSES - 1) {
      gate[i] = TRUSTING;
      if
      :: i < WRITERS -> run Writer(i)
      :: i >= WRITERS && i < WRITERS + READERS -> run Reader(i)
      :: i >= WRITERS + READERS -> run Reconciler(i)
      fi
    }
    run Environment()
  }
}
