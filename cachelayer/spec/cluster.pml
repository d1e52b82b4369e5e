/* Redis Cluster: a document and a stamp in two shards, each on one of two nodes. `documents.pml`
 * explains documents. What is new here is where keys are, and how a process knows whom to believe:
 * an incarnation and an epoch for each shard. Gates are not modelled: every process always tries.
 *
 * Key 0 is the document, in shard 0; key 1 is the stamp, in shard 1. Each shard has an incarnation,
 * which is a key in the shard's slot and moves with it.
 *
 * The model proves the assertion at HIT: everything in the document was what Postgres had at the
 * moment when the document was found, unless the reader has not heard yet of the last reconcile.
 *
 * A reader finds the key and the incarnation in one step; which server that is, the code asks in
 * the next one. A server's name in `name` is never given twice. So what has the incarnation's name
 * afterwards had it before, and one step stands for both.
 *
 * A move that is called off brings its keys back, as `redis-cli --cluster fix` does; its incarnation
 * may stay behind. (If a mark stayed behind, and its writer were killed, there would be a stale read.)
 *
 * Macros: WRITERS, READERS, FAULTS (FLUSHALL, fail-over, a slot given away without its keys), MOVES
 * (slots that begin to move); and
 *   ZOMBIE   after a fail-over, the former primary still answers some processes
 *   AWAY     any writer gets no answer from a node
 * (with these two, a hit is exact only while the log is empty);
 *   SCAN     a sweep finds its keys first and repairs them then; a move is one step, and is not
 *            called off; the fault is a fail-over, nothing expires, and writers write the document; and
 *   ONLY     the one shard to which faults and moves happen (both, if it is 2) */
#define KEYS 2
#define BIT(p) (1 << (p))
#define C(s, n) (2 * (s) + (n))       /* the cell of shard s on node n */
#define ALL 3
#ifndef ONLY
#define ONLY 2
#endif
#define HITS_SHARD(s) (ONLY == 2 || ONLY == (s))
#define PROCESSES (WRITERS + READERS)

/* ---- Postgres ---- */
byte writes[WRITERS];
byte begun = 0, ended = 0;
byte log[KEYS];                       /* which writers have logged this key */
byte epochs[KEYS];                    /* the table cachelayer_shard */

/* ---- The nodes ---- */
#define ABSENT 0
#define VALUE  1                      /* of key 0: a document; a stamp's value is VALUE + a number */
#define LEASE(r) (16 + (r))
#define MARKS(set) (32 + (set))
#define REPAIR 6
#define IS_MARKS(c) ((c) >= 32)
#define SET(c)   ((c) - 32)
#define XIDS(c)  (IS_MARKS(c) -> SET(c) & 7 : 0)
#define FREE(c)  (!(XIDS(c) & ~ended))
#define APPENDED(c, m) MARKS((IS_MARKS(c) -> SET(c) : 0) | BIT(m))
#define STAMPS_MADE 4          /* the first one, and three new ones */

byte cell[4];
byte fresh[2];                        /* of the document on each node: what is as Postgres has it */
byte under[2];                        /* and the stamp under which it was made */
byte last_stamp = VALUE;
/* A shard's node 0 and node 1 are not those of the other shard: what fails, fails alone. */
byte owner[KEYS];                     /* the primary of each shard's slot */
byte zombie[KEYS];                    /* a former primary that still answers; 2: none */
bool moving[KEYS];                    /* from its owner to the other node */
#ifdef SCAN
byte term[4];                         /* how often each node has been given the slot */
#endif
byte name[4];                         /* of each server: new when a replica takes over */
byte names = 4;

mtype = { NONE, SETTLING, TRUSTED };
mtype state[4];
byte written_on[4];
byte epoch[4];
#define OWN(c) (state[c] != NONE && written_on[c] == name[c])

#define SERVES(s, n) (owner[s] == (n) || zombie[s] == (n))
/* Whether node n carries out a script with the key and the incarnation of shard s. While the slot
 * moves, both must be there. */
#define RUNS(s, n) (SERVES(s, n) && (!moving[s] || zombie[s] == (n) || \
  (cell[C(s, n)] != ABSENT && state[C(s, n)] != NONE)))
/* The same for a script with the key alone. */
#define RUNS_ALONE(s, n) (SERVES(s, n) && (!moving[s] || zombie[s] == (n) || cell[C(s, n)] != ABSENT))

/* ---- Each reader: its copy of the epochs, and what it loads ---- */
byte copy0[READERS], copy1[READERS];
byte loaded[READERS];                 /* what is as Postgres has it */

#define BELIEVES(s, n, known) (OWN(C(s, n)) && state[C(s, n)] == TRUSTED && epoch[C(s, n)] == known)
#define HEARD(r) (copy0[r] == epochs[0] && copy1[r] == epochs[1])

/* ---- A writer ---- */
inline revoke(s) { state[C(s, 0)] = NONE; state[C(s, 1)] = NONE }

inline mark(s) {
  atomic {
    if :: n = 0 :: n = 1 fi;
    if
    :: writes[w] & BIT(s) && !SERVES(s, n) -> n = owner[s]             /* MOVED */
    :: else
    fi;
    if
    :: !(writes[w] & BIT(s))
    :: writes[w] & BIT(s) && RUNS(s, n) ->
       cell[C(s, n)] = APPENDED(cell[C(s, n)], w); marked = marked | BIT(s);
       if
       :: OWN(C(s, n)) && epoch[C(s, n)] == (s == 0 -> heard0 : heard1)
       :: OWN(C(s, n)) && epoch[C(s, n)] != (s == 0 -> heard0 : heard1) -> counts = false
       :: !OWN(C(s, n)) -> counts = false; state[C(s, n)] = NONE
       fi
    :: writes[w] & BIT(s) && !RUNS(s, n) -> counts = false; revoke(s)  /* ASK, TRYAGAIN */
#ifdef AWAY
    :: writes[w] & BIT(s) -> counts = false
#endif
    fi;
    n = 0
  }
}

inline release(s) {
  atomic {
    if :: n = 0 :: n = 1 fi;
    if
    :: marked & BIT(s) && RUNS_ALONE(s, n) ->
       if
       :: !IS_MARKS(cell[C(s, n)]) -> cell[C(s, n)] = ABSENT
       :: IS_MARKS(cell[C(s, n)]) && SET(cell[C(s, n)]) & BIT(w) ->
          cell[C(s, n)] = (SET(cell[C(s, n)]) & ~(BIT(w) | BIT(REPAIR)) ->
            MARKS(SET(cell[C(s, n)]) & ~BIT(w)) : ABSENT)
       :: else
       fi
    :: else                                            /* unsent */
    fi;
    n = 0
  }
}

proctype Writer(byte w) {
  byte n = 0, marked = 0, heard0 = 0, heard1 = 0;
  bool counts = true;
  atomic {
#ifdef SCAN
    writes[w] = 1;
#else
    if :: writes[w] = 1 :: writes[w] = 2 :: writes[w] = 3 fi;
#endif
    begun = begun | BIT(w); heard0 = epochs[0]; heard1 = epochs[1]     /* the notice */
  }
  atomic { if :: heard0 = epochs[0]; heard1 = epochs[1] :: true fi }   /* a later copy */
  mark(0);
  mark(1);
  atomic {
    if
    :: for (n : 0 .. 1) { fresh[n] = fresh[n] & ~writes[w] };
       for (n : 0 .. READERS - 1) { loaded[n] = loaded[n] & ~writes[w] };
       n = 0;
       if
       :: !counts ->
          log[0] = log[0] | (writes[w] & 1 -> BIT(w) : 0);
          log[1] = log[1] | (writes[w] & 2 -> BIT(w) : 0)
       :: else
       fi
    :: true                                            /* ROLLBACK, or killed */
    fi;
    ended = ended | BIT(w);
    if :: marked = 0 :: true fi                        /* killed after the COMMIT */
  }
  release(0);
  release(1)
}

/* ---- A reader ---- */
inline forget() { n = 0; made = 0; was_exact = false; was_heard = false; loaded[r] = 0 }
inline pick() { if :: n = 0 :: n = 1 fi }

proctype Reader(byte r) {
  byte n = 0, made = 0;
  bool was_exact = false, was_heard = false;
start:
  atomic {
    if :: copy0[r] = epochs[0]; copy1[r] = epochs[1] :: true fi;       /* the look once a second */
    pick();
    if
    :: RUNS(0, n) && BELIEVES(0, n, copy0[r]) && cell[C(0, n)] == VALUE ->
       made = under[n]; was_exact = (fresh[n] == ALL); was_heard = HEARD(r); n = 0; goto stamps
    :: RUNS(0, n) && BELIEVES(0, n, copy0[r]) && cell[C(0, n)] != VALUE && FREE(cell[C(0, n)]) ->
       cell[C(0, n)] = LEASE(r); n = 0; goto note
    :: else
    fi;
    n = 0; goto start
  }
stamps:
  atomic {                                             /* the second round trip */
    pick();
    if
    :: RUNS(1, n) && BELIEVES(1, n, copy1[r]) && cell[C(1, n)] == made ->   /* HIT: */
#if defined(AWAY) || defined(ZOMBIE)
       assert(was_exact || !was_heard || !HEARD(r) || log[0] || log[1])
#else
       assert(was_exact || !was_heard || !HEARD(r))
#endif
    :: RUNS(1, n) && BELIEVES(1, n, copy1[r]) && cell[C(1, n)] != made ->
       /* The lease, for exactly that document. */
       n = owner[0];
       if
       :: RUNS(0, n) && BELIEVES(0, n, copy0[r]) && cell[C(0, n)] == VALUE && under[n] == made ->
          cell[C(0, n)] = LEASE(r); forget(); goto note
       :: else
       fi
    :: else
    fi;
    forget(); goto start
  }
note:
  atomic {
    pick();
    if
    :: RUNS(1, n) && BELIEVES(1, n, copy1[r]) ->
       if
       :: (cell[C(1, n)] == ABSENT || IS_MARKS(cell[C(1, n)])) && FREE(cell[C(1, n)]) &&
          last_stamp < VALUE + STAMPS_MADE ->
          last_stamp++; cell[C(1, n)] = last_stamp; made = last_stamp
       :: cell[C(1, n)] != ABSENT && !IS_MARKS(cell[C(1, n)]) -> made = cell[C(1, n)]
       :: else -> forget(); goto start                 /* a bypass */
       fi
    :: else -> forget(); goto start
    fi;
    n = 0
  }
  atomic { loaded[r] = loaded[r] | 1 }                 /* SELECT */
  atomic { loaded[r] = loaded[r] | 2 }
  atomic {                                             /* fill */
    pick();
    if
    :: RUNS_ALONE(0, n) && cell[C(0, n)] == LEASE(r) ->
       cell[C(0, n)] = VALUE; fresh[n] = loaded[r]; under[n] = made
    :: true
    fi;
    forget(); goto start
  }
}

/* ---- The reconcile of a shard ---- */
#define MINE(s, n, e) (owner[s] == (n) && !moving[s] && OWN(C(s, n)) && \
  state[C(s, n)] == SETTLING && epoch[C(s, n)] == (e))

inline repair(s, n) {
  cell[C(s, n)] = (IS_MARKS(cell[C(s, n)]) -> APPENDED(cell[C(s, n)], REPAIR) : ABSENT)
}

proctype Reconciler(byte s) {
  byte n = 0, e = 0, waits = 0, take = 0;
#ifdef SCAN
  byte before = 0;
  bool there = false;
#endif
start:
  atomic {
    waits = 0; take = 0; e = 0; n = 0;
    !moving[s] && epochs[s] < 3 && !BELIEVES(s, owner[s], epochs[s]);
    n = owner[s]; epochs[s]++; e = epochs[s];
#ifdef SCAN
    before = term[C(s, n)]
#endif
  }
  atomic {
    if
    :: owner[s] == n && !moving[s] -> state[C(s, n)] = SETTLING; written_on[C(s, n)] = name[C(s, n)];
       epoch[C(s, n)] = e
    :: else -> goto start
    fi
  }
  atomic { waits = begun & ~ended }
  atomic { !(waits & ~ended) -> waits = 0 }
#ifdef SCAN
  atomic { there = (cell[C(s, n)] != ABSENT) }
  atomic {
    if
    :: !there
    :: there && MINE(s, n, e) -> repair(s, n)
    :: there && !MINE(s, n, e) -> goto start
    fi;
    there = false
  }
#else
  atomic { if :: MINE(s, n, e) -> repair(s, n) :: else -> goto start fi }    /* the sweep */
#endif
  atomic { take = log[s] }
  atomic {
    if
    :: take && MINE(s, n, e) -> repair(s, n); log[s] = log[s] & ~take; take = 0
    :: !take
    :: take && !MINE(s, n, e) -> goto start
    fi
  }
#ifdef SCAN
  atomic { if :: owner[s] == n && term[C(s, n)] == before :: else -> goto start fi }
#endif
  atomic { if :: MINE(s, n, e) -> state[C(s, n)] = TRUSTED :: else fi; goto start }
}

/* ---- What happens to the nodes ---- */
#define SRC(s) owner[s]
#define DST(s) (1 - owner[s])

inline put_key(s, from, to) {
  if
  :: cell[C(s, from)] != ABSENT ->
     cell[C(s, to)] = cell[C(s, from)]; cell[C(s, from)] = ABSENT;
     if :: s == 0 -> fresh[to] = fresh[from]; under[to] = under[from] :: else fi
  :: else
  fi
}

inline put_incarnation(s, from, to) {
  if
  :: state[C(s, from)] != NONE ->
     state[C(s, to)] = state[C(s, from)]; written_on[C(s, to)] = written_on[C(s, from)];
     epoch[C(s, to)] = epoch[C(s, from)]; state[C(s, from)] = NONE
  :: else
  fi
}

proctype Environment() {
  byte faults = 0, moves = 0, s = 0, n = 0;
  do
#ifndef SCAN
  :: atomic { if :: s = 0 :: s = 1 fi; if :: n = 0 :: n = 1 fi;        /* expiry, eviction */
              if :: cell[C(s, n)] != ABSENT && !IS_MARKS(cell[C(s, n)]) -> cell[C(s, n)] = ABSENT
                 :: else fi; s = 0; n = 0 }
#endif
#if FAULTS > 0
  :: atomic { faults < FAULTS -> faults++;
              if :: HITS_SHARD(0) -> s = 0 :: HITS_SHARD(1) -> s = 1 fi;
              if
#ifndef SCAN
              :: cell[C(s, owner[s])] = ABSENT; state[C(s, owner[s])] = NONE        /* FLUSHALL */
#endif
              :: !moving[s] && names < 8 ->            /* a replica that lags takes over */
                 n = DST(s);
#ifdef ZOMBIE
                 zombie[s] = owner[s];
#endif
                 state[C(s, n)] = state[C(s, owner[s])];
                 written_on[C(s, n)] = written_on[C(s, owner[s])];
                 epoch[C(s, n)] = epoch[C(s, owner[s])];
                 if
                 :: cell[C(s, n)] = ABSENT
                 :: s == 0 -> cell[C(s, n)] = VALUE; fresh[n] = 0; select(n : 1 .. last_stamp);
                    under[DST(s)] = n; n = DST(s)
                 :: s == 1 -> select(n : VALUE + 1 .. last_stamp); cell[C(s, DST(s))] = n; n = DST(s)
                 fi;
                 owner[s] = n; name[C(s, n)] = names; names++
#ifdef SCAN
                 /* The former primary becomes a replica before it may be given the slot again. */
                 ; name[C(s, 1 - n)] = names; names++
#endif
#ifndef SCAN
              :: !moving[s] -> owner[s] = DST(s)       /* the slot is given away without its keys */
#endif
              fi; s = 0; n = 0 }
#endif
#ifdef SCAN
  :: atomic { moves < MOVES -> moves++; s = ONLY; n = DST(s);
              cell[C(s, n)] = ABSENT; state[C(s, n)] = NONE;
              put_key(s, SRC(s), n); put_incarnation(s, SRC(s), n);
              owner[s] = n; term[C(s, n)]++; s = 0; n = 0 }
#elif MOVES > 0
  :: atomic { moves < MOVES; if :: HITS_SHARD(0) -> s = 0 :: HITS_SHARD(1) -> s = 1 fi;
              if :: !moving[s] -> moving[s] = true; moves++ :: else fi; s = 0 }
  :: atomic { if :: s = 0 :: s = 1 fi;
              if
              :: moving[s] -> put_key(s, SRC(s), DST(s))
              :: moving[s] -> put_key(s, DST(s), SRC(s))
              :: moving[s] -> put_incarnation(s, SRC(s), DST(s))
              :: moving[s] -> put_incarnation(s, DST(s), SRC(s))
              :: moving[s] && cell[C(s, DST(s))] == ABSENT -> moving[s] = false  /* called off */
              :: moving[s] && cell[C(s, SRC(s))] == ABSENT && state[C(s, SRC(s))] == NONE ->
                 owner[s] = DST(s); moving[s] = false  /* the end of the move */
              :: else
              fi; s = 0 }
#endif
  od
}

init {
  byte i;
  atomic {
    for (i : 0 .. 3) { name[i] = i };
    owner[0] = 0; owner[1] = 1; zombie[0] = 2; zombie[1] = 2;
    for (i : 0 .. 1) {
      epochs[i] = 1;
      state[C(i, owner[i])] = TRUSTED; written_on[C(i, owner[i])] = name[C(i, owner[i])];
      epoch[C(i, owner[i])] = 1;
      state[C(i, 1 - owner[i])] = NONE
    };
    last_stamp = VALUE + 1;
    cell[C(0, 0)] = VALUE; fresh[0] = ALL; under[0] = last_stamp;
    cell[C(1, 1)] = last_stamp;
    for (i : 0 .. READERS - 1) { copy0[i] = 1; copy1[i] = 1; run Reader(i) };
    for (i : 0 .. WRITERS - 1) { run Writer(i) };
    if :: HITS_SHARD(0) -> run Reconciler(0) :: else fi;
    if :: HITS_SHARD(1) -> run Reconciler(1) :: else fi;
    run Environment()
  }
}
