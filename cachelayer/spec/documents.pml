/* Documents: bytes made from several rows, for one document. `protocol.pml` explains how to
 * read this, and has the parts that documents share with rows: gate, log, reconcile.
 *
 * Key 0 holds the document, and the writers of the document's own row mark it. Each other key
 * is the stamp of something that the document shows: of a row, or of the rows of a table with
 * a value in a column. A stamp's value is random, and new after every change. The document is
 * stored with the stamps under which it was made.
 *
 * The model proves the assertion at HIT: everything in the document is what Postgres has at
 * that moment, although several statements loaded it. No writer waits for another here: two
 * may write rows of the same table, or the same stamp, at once.
 *
 * Macros: WRITERS, READERS, RECONCILERS, STAMPS, FAULTS; and
 *   PARTITION   any process may get no answer from Redis at any time
 *   UNFOLLOWED  the number of writers that are psql, which never marks
 *   PURE        the document has no row of its own, so no writer marks key 0 */
#define PROCESSES (WRITERS + READERS + RECONCILERS)
#define KEYS (1 + STAMPS)
#define BIT(p) (1 << (p))
#ifdef PURE
#define FIRST 2            /* the first key that a writer can mark, as a bit */
#else
#define FIRST 1
#endif

/* ---- Postgres ---- */
byte writes[WRITERS];      /* of each writer: the keys that its transaction's rows have */
byte begun = 0;            /* the transactions that have begun; a writer's number is its xid */
byte ended = 0;            /* and those that have ended, one way or the other */
byte log = 0;              /* the repair log: which writers' keys are in it */
#define RUNNING (begun & ~ended)
/* Writers that are alike begin in the order of their numbers, as in protocol.pml. */
#define IN_ORDER(w) (w == 0 || w >= WRITERS - UNFOLLOWED || begun & BIT(w - 1))

/* ---- Redis ---- */
#define ABSENT   0
#define DOCUMENT 1         /* key 0 */
#define VALUE    1         /* a stamp's; SAME says who has this very value */
#define LEASE(r) (16 + (r))
/* Marks are a set: nothing is pushed, so it does not matter which mark is the last. */
#define MINE(w)  (w)
#define LATE(w)  (3 + (w))
#define REPAIR   6
#define MARKS(set) (32 + (set))
#define IS_MARKS(c) ((c) >= 32)
#define SET(c)   ((c) - 32)
#define XIDS(c)  (IS_MARKS(c) -> (SET(c) | SET(c) / 8) & 7 : 0)
#define FREE(c)  (!(XIDS(c) & ~ended))                 /* all of its marks have ended */
#define APPENDED(c, m) MARKS((IS_MARKS(c) -> SET(c) : 0) | BIT(m))

byte key[KEYS];

/* A loaded and a stored document are both one of these. Only equality matters: which shown keys
 * are as Postgres has them; and which stamps under which it was made have the same values in
 * Redis. */
#define STORED READERS
byte fresh[READERS + 1];
byte same[READERS + 1];
#define ALL    (BIT(KEYS) - 1)
#define STAMPED (ALL & ~1)
mtype = { NONE, SETTLING, TRUSTED };
mtype state = TRUSTED;
bool own = true;           /* whether the incarnation was written on this very server */
bool up = true;
byte late = 0;             /* writers whose marks got no answer and have not arrived */
#define BELIEVED (state == TRUSTED && own)

/* ---- Each process: its gate, as in protocol.pml ---- */
#define OPEN     0
#define DUE      1
#define BROKEN   2
#define MARKING  3
#define TRUSTING 4
byte gate[PROCESSES];
#define CONNECTED(p) (gate[p] >= MARKING)
#define LOOK(p) (!up -> OPEN : (p >= WRITERS && BELIEVED -> TRUSTING : MARKING))

inline reach(p) {
  if
  :: gate[p] == OPEN || CONNECTED(p)
  :: gate[p] = LOOK(p)
#ifdef PARTITION
  :: p < WRITERS -> gate[p] = OPEN                     /* no answer in time, asked twice */
#endif
  fi
}

/* Key *k* gets a new value: documents under its old value are not valid any more. */
#define PUT(k, value) \
  key[k] = value; for (n : 0 .. READERS) { same[n] = same[n] & ~BIT(k) }; n = 0; \
  if :: key[0] != DOCUMENT -> fresh[STORED] = 0; same[STORED] = 0 :: else fi

/* ---- A writer: statements, mark, COMMIT, release ---- */
inline append(m) {
  for (k : 0 .. KEYS - 1) {
    if :: writes[w] & BIT(k) -> PUT(k, APPENDED(key[k], m)) :: else fi
  };
  k = 0
}

inline mark() {
  do
  :: atomic {
       reach(w);
       if
       :: CONNECTED(w) -> append(MINE(w)); answered = true; break
#ifdef PARTITION
       :: CONNECTED(w) -> late = late | BIT(w); gate[w] = OPEN; break  /* no answer in time */
#endif
       :: gate[w] == OPEN -> break                     /* on without a mark, but with the log */
       :: gate[w] == BROKEN || gate[w] == DUE          /* again */
       fi
     }
  od
}

/* Remove my mark. When no transaction's mark is left, the key is absent, and the next reader makes
 * a new stamp. If mine was lost, the value there may have been loaded before the COMMIT. */
inline take_back() {
  for (k : 0 .. KEYS - 1) {
    if
    :: writes[w] & BIT(k) && !IS_MARKS(key[k]) -> PUT(k, ABSENT)
    :: writes[w] & BIT(k) && IS_MARKS(key[k]) && SET(key[k]) & BIT(w) ->
       key[k] = (SET(key[k]) & ~(BIT(w) | BIT(REPAIR)) -> MARKS(SET(key[k]) & ~BIT(w)) : ABSENT)
    :: else
    fi
  };
  k = 0
}

inline release() {
  do
  :: atomic {
       reach(w);
       if
       :: gate[w] == OPEN -> break
       :: gate[w] == BROKEN || gate[w] == DUE
       :: CONNECTED(w) -> take_back(); break
       fi
     }
  od
}

proctype Writer(byte w) {
  bool answered = false;
  byte k = 0, n = 0;
  atomic { reach(w) }                                  /* for an earlier request */
  atomic { IN_ORDER(w) ->
           select(k : 1 .. ALL / FIRST); writes[w] = k * FIRST; k = 0; begun = begun | BIT(w) }
  if :: w < WRITERS - UNFOLLOWED -> mark() :: else fi;
  atomic {
    if
    :: for (n : 0 .. READERS) { fresh[n] = fresh[n] & ~writes[w] };
       n = 0; log = (answered -> log : log | BIT(w))   /* COMMIT, of the log too */
    :: true                                            /* ROLLBACK: an error, or killed */
    fi;
    ended = ended | BIT(w)
  }
  if :: answered -> release() :: else fi;
  atomic {
    answered = false; gate[w] = OPEN;
    if :: !((log | late) & BIT(w)) -> writes[w] = 0 :: else fi
  }
}

/* ---- A reader: the document and its stamps; no hit: lease, stamps, load, fill ---- */
#define ME (r - WRITERS)

/* A new stamp replaces an absent one, and marks whose transactions have ended. */
inline note() {
  if :: key[k] != VALUE && FREE(key[k]) -> key[k] = VALUE :: else fi;
  if
  :: key[k] == VALUE -> same[ME] = same[ME] | BIT(k)
  :: else -> unstable = true
  fi
}

#define IS_VALID (key[0] == DOCUMENT && same[STORED] == STAMPED)
#define IS_EXACT (fresh[STORED] == ALL)

proctype Reader(byte r) {
  byte k = 0, n = 0;
  bool unstable = false;
start:
  atomic {
    fresh[ME] = 0; same[ME] = 0; k = 0; unstable = false;
    reach(r);                                          /* the document and its stamps */
    if
    :: gate[r] == TRUSTING && IS_VALID ->              /* HIT: */
#if defined(PARTITION) || UNFOLLOWED > 0
       assert(IS_EXACT || log || !BELIEVED)
#else
       assert(IS_EXACT)
#endif
    :: gate[r] == TRUSTING && state != TRUSTED -> gate[r] = DUE        /* the lease is refused */
    /* The lease: for exactly what was found: nothing, a document that is not valid, or marks
     * of which Postgres has said that their transactions have ended. */
    :: gate[r] == TRUSTING && state == TRUSTED && !IS_VALID && FREE(key[0]) ->
       PUT(0, LEASE(r)); goto stamps
    :: else
    fi;
    goto start
  }
stamps:
  atomic {
    reach(r);
    if
    :: CONNECTED(r) ->                                 /* trusted or not: the lease was granted */
       for (k : 1 .. KEYS - 1) { note() };
       k = 0;
       if :: unstable -> goto start :: else fi         /* a bypass; the lease runs out */
    :: else -> goto start
    fi
  }
  do                                                   /* SELECT, one after another */
  :: atomic { k < KEYS -> fresh[ME] = fresh[ME] | BIT(k); k++ }
  :: atomic { k == KEYS -> k = 0; break }
  od;
  atomic {                                             /* fill */
    reach(r);
    if
    :: CONNECTED(r) && key[0] == LEASE(r) ->
       key[0] = DOCUMENT; fresh[STORED] = fresh[ME]; same[STORED] = same[ME]
    :: true
    fi;
    goto start
  }
}

/* ---- cache_repair: drains the repair log, makes a new Redis trusted ---- */
#define REPAIRED(c) (IS_MARKS(c) -> APPENDED(c, REPAIR) : ABSENT)

inline drain() {
  atomic { take = log };                               /* SELECT of the rows */
  if
  :: take ->
     atomic {
       if
       :: CONNECTED(p) && own ->
          for (i : 0 .. WRITERS - 1) {
            for (j : 0 .. KEYS - 1) {
              if :: take & BIT(i) && writes[i] & BIT(j) -> PUT(j, REPAIRED(key[j])) :: else fi
            }
          };
          i = 0; j = 0
       :: else -> goto start
#ifdef PARTITION
       :: goto start                                   /* no answer in time, or killed */
#endif
       fi
     };
     atomic { log = log & ~take; take = 0 }            /* DELETE */
  :: else
  fi
}

#define SETTLING_MINE (state == SETTLING && own)

proctype Reconciler(byte p) {
  byte take = 0, waits = 0, i = 0, j = 0, n = 0;
start:
  atomic { take = 0; waits = 0; i = 0; j = 0; up -> gate[p] = MARKING }
  do
  :: log && BELIEVED -> drain()
  :: !BELIEVED -> break
  od;
  atomic { if :: CONNECTED(p) -> state = SETTLING; own = true :: else -> goto start fi }
  atomic {                                             /* one probe interval passes */
    for (i : 0 .. PROCESSES - 1) { if :: gate[i] == OPEN -> gate[i] = DUE :: else fi };
    i = 0; waits = RUNNING                             /* who holds a lock on a cached table */
  }
  atomic { !(waits & ~ended) -> waits = 0 };           /* they have ended: the sweep */
  do
  :: atomic { j < KEYS ->
       if
       :: CONNECTED(p) && SETTLING_MINE -> if :: key[j] != ABSENT -> PUT(j, REPAIRED(key[j])) :: else fi; j++
       :: else -> goto start
       fi }
  :: atomic { j == KEYS -> j = 0; break }
  od;
  drain();
  atomic { if :: CONNECTED(p) && SETTLING_MINE -> state = TRUSTED :: else fi; goto start }
}

/* ---- Faults ---- */
inline forget() { for (i : 0 .. KEYS - 1) { PUT(i, ABSENT) }; i = 0; state = NONE }

proctype Environment() {
  byte faults = 0, i = 0, v = 0, n = 0;
  do
  :: atomic { select(i : 0 .. KEYS - 1);               /* expiry, eviction, clear */
              if :: key[i] != ABSENT && !IS_MARKS(key[i]) -> PUT(i, ABSENT) :: else fi; i = 0 }
#if FAULTS > 0
  :: atomic { faults < FAULTS -> forget(); faults++ }  /* FLUSHALL */
  :: atomic { faults < FAULTS -> state = NONE; faults++ }            /* only that key is deleted */
  :: atomic { up && faults < FAULTS -> forget(); up = false; faults++;
              for (i : 0 .. PROCESSES - 1) { if :: CONNECTED(i) -> gate[i] = BROKEN :: else fi };
              i = 0 }
  :: atomic { !up -> up = true }                       /* start, empty */
  :: atomic { !up -> up = true; own = false; state = TRUSTED;        /* with old data */
              if
              :: key[0] = DOCUMENT; select(v : 0 .. STAMPED); same[STORED] = v & STAMPED
              :: select(v : 1 .. BIT(WRITERS) - 1); key[0] = MARKS(v)
              :: select(v : WRITERS .. WRITERS + READERS - 1); key[0] = LEASE(v)
              fi;
              for (i : 1 .. KEYS - 1) {
                if :: key[i] = VALUE;                  /* a reader may know this value */
                      if :: n = 0 :: n = 1 fi;
                      for (v : 0 .. READERS - 1) { same[v] = same[v] | (n -> BIT(i) : 0) }
                   :: select(v : 1 .. BIT(WRITERS) - 1); key[i] = MARKS(v)
                   :: true
                fi;
                if :: key[i] != VALUE -> same[STORED] = same[STORED] & ~BIT(i) :: else fi
              };
              v = 0; i = 0; n = 0 }
#endif
#ifdef PARTITION
  :: atomic { late -> if :: late & 1 -> v = 0 :: late & 2 -> v = 1 :: late & 4 -> v = 2 fi;
              late = late & ~BIT(v);
              for (i : 0 .. KEYS - 1) {
                if :: writes[v] & BIT(i) -> PUT(i, APPENDED(key[i], LATE(v))) :: else fi
              };
              v = 0; i = 0 }                           /* a late mark */
#endif
  od
}

init {
  byte i;
  atomic {
    key[0] = DOCUMENT;
    for (i : 1 .. KEYS - 1) { key[i] = VALUE };
    fresh[STORED] = ALL; same[STORED] = STAMPED;
    for (i : 0 .. PROCESSES - 1) {
      gate[i] = (i < WRITERS -> MARKING : TRUSTING);
      if
      :: i < WRITERS -> run Writer(i)
      :: i >= WRITERS && i < WRITERS + READERS -> run Reader(i)
      :: i >= WRITERS + READERS -> run Reconciler(i)
      fi
    }
    run Environment()
  }
}
