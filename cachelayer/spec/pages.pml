/* Pages: a list made from cached rows, for one page and one of its rows. `protocol.pml`
 * explains how to read this, and has the parts that pages share with rows: gate, log,
 * reconcile, and everything about the row's key. `documents.pml` has stamps.
 *
 * There are three keys. The page is stored under the stamp of its table, which every writer of
 * the table marks; no writer marks the page. Some of the writers write the row, under its lock.
 *
 * The filler of a page asks Postgres for the list of rows, and takes each row from its key. The
 * promise of that key holds for one moment, and the page outlives it. So whatever repairs an
 * old row must end afterwards what was made from it.
 *
 * The model proves: at HIT, the list and the row of the page are what Postgres has at that
 * moment. At TAKEN, so is the row. At ANSWER, so is the filler's answer: everything is from one
 * moment, and no row is shown that is not in this list.
 *
 * Macros: WRITERS (two at most), READERS, RECONCILERS, FAULTS; and
 *   PARTITION   any writer or repair may get no answer from Redis at any time
 *   UNFOLLOWED  the number of writers that are psql, which never marks
 *   BULK        a writer may write so many rows that it marks only the stamp, and logs the rows
 *   ELSEWHERE   a reader's connection may lead to another server, for one command */
#define PROCESSES (WRITERS + READERS + RECONCILERS)
#define BIT(p) (1 << (p))

/* ---- Postgres: a writer changes the row, or another of its table; and with it the list ---- */
#define OF_STAMP 1
#define OF_ROW   2
byte writes[WRITERS];      /* the keys that its transaction's rows have */
byte begun = 0;            /* the transactions that have begun; a writer's number is its xid */
byte ended = 0;            /* and those that have ended, one way or the other */
bool locked = false;       /* the row's lock */
byte log = 0;              /* the repair log: whose keys are in it */
#define RUNNING (begun & ~ended)
/* Writers that are alike begin in the order of their numbers, as in protocol.pml. */
#define IN_ORDER(w) (w == 0 || w >= WRITERS - UNFOLLOWED || begun & BIT(w - 1))

/* ---- Redis ---- */
#define ABSENT   0
#define OLD      1         /* a row or page that is not what Postgres has */
#define EXACT    2         /* and one that is */
#define VALUE    1         /* a stamp's; SAME says who has this very value */
#define LEASE(r) (8 + (r))
#define MINE(w)  (w)
#define LATE(w)  (3 + (w))
#define REPAIR   6
#define MARKS(set, last) (32 + 8 * (set) + (last))
#define SET(c)   (((c) - 32) / 8)
#define LAST(c)  (((c) - 32) % 8)
#define IS_MARKS(c) ((c) >= 32)
#define IS_KNOWN(c) ((c) == OLD || (c) == EXACT)
#define XIDS(c)  (IS_MARKS(c) -> (SET(c) | SET(c) / 8) & 7 : 0)
#define FREE(c)  (!(XIDS(c) & ~ended))                 /* all of its marks have ended */
#define JOINED(c, m, last) MARKS((IS_MARKS(c) -> SET(c) : 0) | BIT(m), last)
#define REPAIRED(c, last)  (IS_MARKS(c) -> JOINED(c, REPAIR, last) : ABSENT)

byte page = EXACT;
short row = EXACT;
short stamp = VALUE;       /* marks are a set: which is the last does not matter */
mtype = { NONE, SETTLING, TRUSTED };
mtype state = TRUSTED;
bool own = true;           /* whether the incarnation was written on this very server */
bool up = true;
byte late = 0;             /* writers whose marks got no answer and have not arrived */
#define BELIEVED (state == TRUSTED && own)

/* For each reader that makes a page: whether it has noted the stamp, and whether the stamp still
 * has the noted value; whether its list and its row are what Postgres has; and whether both are
 * from one moment: the row is still the row from which the list was made. */
byte noted = 0, same = 0, listed = 0, rowed = 0, one = 0;
byte mine[WRITERS];        /* what to push; ABSENT: release */

/* The stamp gets a new value: a page that was made under the old one is not valid any more. */
#define AS_NONE(c) (IS_KNOWN(c) -> ABSENT : c)
#define PUT_STAMP(c) stamp = c; page = AS_NONE(page); same = 0; listed = 0; one = 0

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

/* ---- A writer: statement, mark, COMMIT, push, release ---- */
inline append(m, keys) {
  if :: keys & OF_ROW -> row = JOINED(row, m, m) :: else fi;
  if :: keys & OF_STAMP -> PUT_STAMP(JOINED(stamp, m, 0)) :: else fi
}

inline mark() {
  do
  :: atomic {
       reach(w);
       if
       :: CONNECTED(w) -> marked = writes[w]; append(MINE(w), marked); break
#ifdef BULK
       :: CONNECTED(w) -> marked = OF_STAMP; append(MINE(w), marked); break
#endif
#ifdef PARTITION
       /* No answer in time. There may have been several scripts, of which one was answered. */
       :: CONNECTED(w) -> select(marked : 0 .. OF_ROW); marked = marked & writes[w];
          append(MINE(w), marked); late = late | BIT(w); gate[w] = OPEN; break
#endif
       :: gate[w] == OPEN -> break                     /* on without a mark, but with the log */
       :: gate[w] == BROKEN || gate[w] == DUE          /* again */
       fi
     }
  od
}

/* If mine was lost, the value there may have been loaded before the COMMIT. */
inline push() {
  if
  :: !IS_MARKS(row) -> row = ABSENT
  :: IS_MARKS(row) && !(SET(row) & BIT(w))             /* taken over: leave the others */
  :: IS_MARKS(row) && SET(row) & BIT(w) ->
     if
     :: LAST(row) != w -> row = MARKS(SET(row) & ~BIT(w), LAST(row))
     :: LAST(row) == w && mine[w] -> row = mine[w]
     :: LAST(row) == w && !mine[w] ->
        row = (SET(row) == BIT(w) -> ABSENT : MARKS((SET(row) & ~BIT(w)) | BIT(REPAIR), REPAIR))
     fi
  fi
}

/* When no transaction's mark is left, the stamp is absent, and the next reader makes a new one. */
inline release() {
  if
  :: !IS_MARKS(stamp) -> PUT_STAMP(ABSENT)
  :: IS_MARKS(stamp) && SET(stamp) & BIT(w) ->
     stamp = (SET(stamp) & ~(BIT(w) | BIT(REPAIR)) -> MARKS(SET(stamp) & ~BIT(w), 0) : ABSENT)
  :: else
  fi
}

inline replace(keys) {
  do
  :: atomic {
       reach(w);
       if
       :: gate[w] == OPEN || !(marked & keys) -> break
       :: gate[w] == BROKEN || gate[w] == DUE
       :: CONNECTED(w) && marked & keys ->
          if :: keys == OF_ROW -> push() :: else -> release() fi; break
       fi
     }
  od
}

#define AGED(c) (c == EXACT -> OLD : c)
inline age() {
  listed = 0; page = AGED(page);
  if
  :: writes[w] & OF_ROW ->
     one = one & rowed; rowed = 0; row = AGED(row);
     mine[0] = AGED(mine[0]); mine[WRITERS - 1] = AGED(mine[WRITERS - 1]);
     if :: mine[w] = EXACT :: true fi                  /* cannot be rendered, another isolation */
  :: else
  fi
}

#define FORGET(w) writes[w] = ((log | late) & BIT(w) -> writes[w] : 0)

proctype Writer(byte w) {
  byte marked = 0;
  atomic { reach(w) }                                  /* for an earlier request */
  atomic {
    IN_ORDER(w);
    if
    :: !locked -> locked = true; writes[w] = OF_ROW | OF_STAMP         /* UPDATE: the row lock */
    :: writes[w] = OF_STAMP
    fi;
    begun = begun | BIT(w)
  }
  if :: w < WRITERS - UNFOLLOWED -> mark() :: else fi;
  atomic {
    if :: writes[w] & OF_ROW -> locked = false :: else fi;
    if
    :: age();                                          /* COMMIT, of the log too: if anything is */
       if :: marked != writes[w] -> log = log | BIT(w) :: else fi    /* logged, then all of it */
    :: true                                            /* ROLLBACK: an error, or killed */
    fi;
    ended = ended | BIT(w)
  }
  replace(OF_ROW);                                     /* one pipeline, but two steps */
  replace(OF_STAMP);
  atomic { marked = 0; mine[w] = ABSENT; gate[w] = DUE; FORGET(w) }
}

/* ---- A reader: the page and its stamp; no hit: lease, stamp, list, row, fill ---- */
#define ME BIT(r - WRITERS)
#if defined(PARTITION) || defined(BULK) || UNFOLLOWED > 0
#define MUST_BE(exact) assert((exact) || log || !BELIEVED)
#else
#define MUST_BE(exact) assert(exact)
#endif
#define NO_MORE \
  noted = noted & ~ME; same = same & ~ME; listed = listed & ~ME; rowed = rowed & ~ME; one = one & ~ME
#define READ(exact) rowed = rowed | (exact -> ME : 0); one = (exact -> one : one & ~ME)

proctype Reader(byte r) {
  bool leased = false;
start:
  atomic {
    reach(r);                                          /* the page and its stamp */
    if
    :: gate[r] == TRUSTING && IS_KNOWN(page) -> MUST_BE(page == EXACT) /* HIT */
    :: gate[r] == TRUSTING && state != TRUSTED -> gate[r] = DUE        /* the lease is refused */
    :: gate[r] == TRUSTING && state == TRUSTED && !IS_KNOWN(page) -> page = LEASE(r); goto note
    :: else
    fi;
    goto start
  }
note:
  atomic {
    reach(r);
    if
    :: CONNECTED(r) ->                                 /* trusted or not: the lease was granted */
       if :: stamp != VALUE && FREE(stamp) -> PUT_STAMP(VALUE) :: else fi;
       if :: stamp == VALUE -> noted = noted | ME; same = same | ME
          :: else -> goto start fi                     /* a bypass */
    :: else -> goto start
    fi
  }
  atomic { listed = listed | (same & ME); one = one | (same & ME) }  /* SELECT of the list */
  atomic {                                             /* the row: as in protocol.pml */
    reach(r);
    if
    :: gate[r] == TRUSTING && IS_KNOWN(row) ->
       MUST_BE(row == EXACT);                          /* TAKEN */
       READ(row == EXACT); goto fill
    :: gate[r] == TRUSTING && state == TRUSTED && !IS_KNOWN(row) && FREE(row) ->
       row = LEASE(r); leased = true
    :: !(gate[r] == TRUSTING && IS_KNOWN(row))         /* a bypass */      
#ifdef ELSEWHERE
    :: gate[r] == TRUSTING -> skip                     /* its answer has another epoch */
#endif
    fi
  }
  atomic { READ(true); if :: leased -> skip :: else -> goto fill fi }  /* SELECT of the row */
  atomic {
    reach(r);
    if
    :: CONNECTED(r) && row == LEASE(r) -> row = (rowed & ME -> EXACT : OLD)
    :: else
    fi;
    leased = false
  }
fill:
  atomic {
    reach(r);
    if
    :: CONNECTED(r) && page == LEASE(r) ->
       page = (same & ME -> (listed & rowed & ME -> EXACT : OLD) : ABSENT);
       /* It says whether it took, and whether the stamp is the same still. If not, the reader
        * asks for all again, in one SELECT, and answers that. */
       if :: gate[r] == TRUSTING && same & ME -> MUST_BE(one & ME)                   /* ANSWER */
          :: else fi
    :: else
    fi;
    NO_MORE; goto start
  }
}

/* ---- cache_repair: drains the repair log, makes a new Redis trusted ---- */
inline repair(keys) {
  atomic {
    if
    :: CONNECTED(p) && own ->
       for (i : 0 .. WRITERS - 1) {
         if
         :: take & BIT(i) && writes[i] & keys & OF_ROW -> row = REPAIRED(row, REPAIR)
         :: take & BIT(i) && writes[i] & keys & OF_STAMP -> PUT_STAMP(REPAIRED(stamp, 0))
         :: else
         fi
       };
       i = 0
    :: else -> goto start
#ifdef PARTITION
    :: goto start                                      /* no answer in time, or killed */
#endif
    fi
  }
}

/* Rows first. Otherwise a page may be made in between, from the old row under the new stamp. */
inline drain() {
  atomic { take = log };                               /* SELECT of the rows */
  if
  :: take -> repair(OF_ROW); repair(OF_STAMP);
             atomic {                                  /* DELETE */
               log = log & ~take;
               for (i : 0 .. WRITERS - 1) { if :: take & ended & BIT(i) -> FORGET(i) :: else fi };
               take = 0; i = 0
             }
  :: else
  fi
}

#define SETTLING_MINE (state == SETTLING && own)

proctype Reconciler(byte p) {
  byte take = 0, waits = 0, i = 0, swept = 0;
start:
  atomic { take = 0; waits = 0; i = 0; swept = 0; up -> gate[p] = MARKING }
  do
  :: log && BELIEVED -> drain()
  :: !BELIEVED -> break
  od;
  atomic { if :: CONNECTED(p) -> state = SETTLING; own = true :: else -> goto start fi }
  atomic {                                             /* one probe interval passes */
    for (i : 0 .. PROCESSES - 1) { if :: gate[i] == OPEN -> gate[i] = DUE :: else fi };
    i = 0; waits = RUNNING                             /* who holds a lock on a cached table */
  }
  atomic { !(waits & ~ended) -> waits = 0 };           /* they have ended: the sweep, in any order */
  do
  :: atomic { swept != 7 ->
       if
       :: CONNECTED(p) && SETTLING_MINE ->
          if
          :: !(swept & 1) -> page = ABSENT; swept = swept | 1
          :: !(swept & 2) -> PUT_STAMP(REPAIRED(stamp, 0)); swept = swept | 2
          :: !(swept & 4) -> row = REPAIRED(row, REPAIR); swept = swept | 4
          fi
       :: else -> goto start
       fi }
  :: atomic { swept == 7 -> swept = 0; break }
  od;
  drain();
  atomic { if :: CONNECTED(p) && SETTLING_MINE -> state = TRUSTED :: else fi; goto start }
}

/* ---- Faults ---- */
inline forget() { page = ABSENT; PUT_STAMP(ABSENT); row = ABSENT; state = NONE }

proctype Environment() {
  byte faults = 0, i = 0, v = 0;
  do
  :: atomic { page != ABSENT -> page = ABSENT }     /* expiry, eviction, clear */
  :: atomic { stamp == VALUE -> PUT_STAMP(ABSENT) }
  :: atomic { row != ABSENT && !IS_MARKS(row) -> row = ABSENT }
#if FAULTS > 0
  :: atomic { faults < FAULTS -> forget(); faults++ }  /* FLUSHALL */
  :: atomic { faults < FAULTS -> state = NONE; faults++ }            /* only that key is deleted */
  :: atomic { up && faults < FAULTS -> forget(); up = false; faults++;
              for (i : 0 .. PROCESSES - 1) { if :: CONNECTED(i) -> gate[i] = BROKEN :: else fi };
              i = 0 }
  :: atomic { !up -> up = true }                       /* start, empty */
  :: atomic { !up -> up = true; own = false; state = TRUSTED;        /* with old data */
              if
              :: row = OLD
              :: select(v : 1 .. BIT(WRITERS) - 1); select(i : 0 .. WRITERS - 1);
                 if :: v & BIT(i) -> row = MARKS(v, i) :: else fi
              :: select(v : WRITERS .. WRITERS + READERS - 1); row = LEASE(v)
              :: true
              fi;
              if
              :: stamp = VALUE; select(v : 0 .. BIT(READERS) - 1); same = v & noted;
                 if :: page = OLD :: true fi
              :: select(v : 1 .. BIT(WRITERS) - 1); stamp = MARKS(v, 0)
              :: true
              fi;
              if
              :: select(v : WRITERS .. WRITERS + READERS - 1); page = LEASE(v)
              :: true
              fi;
              v = 0; i = 0 }
#endif
#ifdef PARTITION
  :: atomic { late -> if :: late & 1 -> v = 0 :: late & 2 -> v = 1 :: late & 4 -> v = 2 fi;
              late = late & ~BIT(v);
              append(LATE(v), writes[v]);
              if :: ended & BIT(v) -> FORGET(v) :: else fi; v = 0 }              /* a late mark */
#endif
  od
}

init {
  byte i;
  atomic {
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
