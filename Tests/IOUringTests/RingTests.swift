import CLiburing
import Glibc
import Testing

@testable import IOUring

@Suite(.needsRing) struct RingTests {
    // Method: one no-op; its token and result come back, and nothing else does.
    @Test func noOperationCompletes() throws {
        var bench = try Bench()
        bench.ring.noOperation(token(7, 42))
        let prepared = bench.ring.preparedEntries
        #expect(prepared == 1)
        let found = try bench.completions(1)
        #expect(found.map(\.token) == [token(7, 42)])
        #expect(found.first?.result == 0)
        #expect(try bench.ready().isEmpty)
    }

    // Method: read back the flags the kernel accepted and the size of both queues.
    @Test func ringHasItsFlagsAndSizes() throws {
        let ring = try Ring(entries: 100, options: RingOptions(completionsPerEntry: 4))
        let wanted = UInt32(IORING_SETUP_SINGLE_ISSUER) | UInt32(IORING_SETUP_DEFER_TASKRUN)
            | UInt32(IORING_SETUP_SUBMIT_ALL) | UInt32(IORING_SETUP_CQSIZE)
        let (flags, completions) = (ring.raw.pointee.flags, ring.raw.pointee.cq.ring_entries)
        #expect(flags & wanted == wanted)
        let (entries, free) = (ring.entries, ring.freeEntries)
        #expect(entries == 128 && free == 128)
        #expect(completions == 512)
    }

    // Method: prepare 50 no-ops on a queue of 4; all complete in order, submits were forced.
    @Test func fullQueueSubmitsByItself() throws {
        var bench = try Bench(entries: 4, perEntry: 16)
        for slot in 0..<50 { bench.ring.noOperation(token(1, UInt32(slot))) }
        let forced = bench.ring.forcedSubmits
        #expect(forced == 12)
        let found = try bench.completions(50)
        #expect(found.map(\.token.slot) == Array(0..<50))
    }

    // Method: 1000 no-ops against room for 8 completions, unreaped; none may be lost or doubled.
    @Test func overflowLosesNothing() throws {
        var bench = try Bench(entries: 4, perEntry: 2)
        for slot in 0..<1000 { bench.ring.noOperation(token(1, UInt32(slot))) }
        try bench.ring.submit()
        let overflowed = bench.ring.hasOverflowed
        #expect(overflowed)
        let found = try bench.completions(1000)
        #expect(found.map(\.token.slot) == Array(0..<1000))
    }

    // Method: more completions than a batch holds arrive in two reaps, the rest kept.
    @Test func batchIsBounded() throws {
        var bench = try Bench(entries: 512)
        for slot in 0..<300 { bench.ring.noOperation(token(1, UInt32(slot))) }
        try bench.ring.submit()
        let first = bench.ring.reap(into: &bench.batch)
        let second = bench.ring.reap(into: &bench.batch)
        #expect(first == CompletionBatch.capacity)
        #expect(second == 300 - CompletionBatch.capacity)
        let last = bench.batch[second - 1].token.slot
        #expect(last == 299)
    }

    // Method: a long timer is prepared before a short one in one submit; only the short one fires.
    // Were their times in shared memory, the long one would fire too.
    @Test func timersKeepTheirOwnTime() throws {
        var bench = try Bench()
        bench.ring.timeout(nanoseconds: 3600 * second, token(1))
        bench.ring.timeout(nanoseconds: 1_000_000, token(2))
        bench.ring.timeout(nanoseconds: 3600 * second, token(3))
        let found = try bench.completions(1)
        #expect(found.map(\.token) == [token(2)])
        #expect(found.first?.failure == ETIME)
        #expect(try bench.ready().isEmpty)
    }

    // Method: split times at and around whole seconds, which no test could wait for.
    @Test func nanosecondsBecomeSeconds() {
        for (time, seconds, rest) in [
            (UInt64(0), 0, 0), (999_999_999, 0, 999_999_999), (second, 1, 0),
            (3600 * second + 7, 3600, 7), (.max, 18_446_744_073, 709_551_615),
        ] as [(UInt64, Int64, Int64)] {
            let span = __kernel_timespec(nanoseconds: time)
            #expect(span.tv_sec == seconds && span.tv_nsec == rest)
        }
    }

    // Method: wait on an idle ring; it returns without error or completions, and not early.
    @Test func waitEndsAtItsTimeout() throws {
        var bench = try Bench()
        let start = ContinuousClock.now
        try bench.ring.submitAndWait(minimum: 1, timeoutNanoseconds: 5_000_000)
        #expect(ContinuousClock.now - start >= .milliseconds(5))
        let count = bench.ring.reap(into: &bench.batch)
        #expect(count == 0)
        try bench.ring.submitAndWait(minimum: 1, timeoutNanoseconds: 0)
    }

    // Method: a wait with a timeout also submits what is prepared, and returns before the time.
    @Test func waitSubmits() throws {
        var bench = try Bench()
        bench.ring.noOperation(token(1))
        bench.ring.noOperation(token(2))
        let taken = try bench.ring.submitAndWait(minimum: 2, timeoutNanoseconds: 60 * second)
        #expect(taken == 2)
        let count = bench.ring.reap(into: &bench.batch)
        #expect(count == 2)
    }

    // Method: cancelling what does not exist finds nothing; cancelling a timer ends it.
    @Test func cancelCountsWhatItFound() throws {
        var bench = try Bench()
        bench.ring.cancel(token(99), token(1))
        #expect(try bench.completions(1).map(\.result) == [0])
        bench.ring.timeout(nanoseconds: 3600 * second, token(2))
        bench.ring.cancel(token(2), token(3))
        let found = try bench.completions(2)
        #expect(found.first { $0.token == token(2) }?.failure == ECANCELED)
        #expect(found.first { $0.token == token(3) }?.result == 1)
    }

    // Method: two threads, a ring each; each wakes the other in turn 1000 times by message alone.
    // The sender must see no completions of its own.
    @Test func messagesWakeAnotherThread() throws {
        let (reads, writes) = try pipe()
        var bench = try Bench()
        let home = bench.ring.descriptor
        let unexpected = Outcome<Int>()
        let other = OtherThread { unexpected.value = try? echo(to: home, announcing: writes) }
        var remote: Int32 = -1
        #expect(Glibc.read(reads, &remote, 4) == 4)
        for round in UInt32(0)..<1000 {
            bench.ring.message(to: remote, token(1, round), value: 17, token(9))
            let found = try bench.completions(1)
            try #require(found.map(\.token) == [token(2, round)])
            #expect(found.first?.result == 17)
        }
        other.join()
        #expect(unexpected.value == 0)
        #expect(try bench.ready().isEmpty)
        Descriptors.close(reads)
        Descriptors.close(writes)
    }

    // Method: carry a ring to a thread that has none; its submit is refused, and the text says why.
    @Test func anotherThreadIsRefused() throws {
        let carried = Carried(try Bench())
        let refusal = Outcome<RingError>()
        OtherThread {
            carried.bench.ring.noOperation(token(1))
            do throws(RingError) {
                try carried.bench.ring.submit()
            } catch { refusal.value = error }
        }.join()
        #expect(refusal.value?.operation == .submit)
        #expect(refusal.value?.description.contains("another thread") == true)
    }

    // Method: a message to a descriptor that is no ring fails, and only then completes here.
    @Test func messageToNoRingFails() throws {
        var bench = try Bench()
        bench.ring.message(to: 0, token(1), token(9))
        let found = try bench.completions(1)
        #expect(found.map(\.token) == [token(9)])
        #expect((found.first?.result ?? 0) < 0)
    }

    // Method: poll an event descriptor once and repeatedly; it completes once per raise.
    @Test func pollsAnEvent() throws {
        var bench = try Bench()
        let event = try Descriptors.event()
        bench.ring.poll(event, token(1))
        #expect(try bench.ready().isEmpty)
        Descriptors.raise(event)
        var found = try bench.completions(1)
        #expect(found.first?.result == Int32(POLLIN) && found.first?.hasMore == false)
        #expect(Descriptors.clear(event) == 1)
        bench.ring.pollRepeatedly(event, token(2))
        for _ in 0..<3 {
            #expect(try bench.ready().isEmpty)
            Descriptors.raise(event)
            found = try bench.completions(1)
            #expect(found.map(\.token) == [token(2)])
            #expect(found.first?.hasMore == true)
            #expect(Descriptors.clear(event) == 1)
        }
        bench.ring.cancelAll(on: event, token(3))
        #expect(try bench.completions(2).count == 2)
        Descriptors.close(event)
    }

    // Method: raise a signal in this thread; the polled descriptor delivers its number, once.
    @Test func pollsASignal() throws {
        var bench = try Bench()
        let signals = try Descriptors.signals([SIGUSR2])
        bench.ring.poll(signals, token(1))
        #expect(try bench.ready().isEmpty)
        #expect(try Descriptors.nextSignal(signals) == nil)
        pthread_kill(pthread_self(), SIGUSR2)
        #expect(try bench.completions(1).map(\.result) == [Int32(POLLIN)])
        #expect(try Descriptors.nextSignal(signals) == SIGUSR2)
        #expect(try Descriptors.nextSignal(signals) == nil)
        Descriptors.close(signals)
    }
}

/// The other end of `messagesWakeAnotherThread`: answers each message with kind 2, 1000 times.
///
/// Returns how many completions there were besides the messages.
private func echo(to home: Int32, announcing writes: Int32) throws -> Int {
    var bench = try Bench()
    var unexpected = 0
    var descriptor = bench.ring.descriptor
    guard Glibc.write(writes, &descriptor, 4) == 4 else { throw SystemError(errno, "announce") }
    for _ in 0..<1000 {
        for completion in try bench.completions(1) {
            guard completion.token.kind == 1 else {
                unexpected += 1
                continue
            }
            bench.ring.message(
                to: home, token(2, completion.token.slot), value: completion.result, token(9))
        }
    }
    return try unexpected + bench.ready().count
}

/// Lets `anotherThreadIsRefused` do what the compiler forbids; the threads take turns.
private final class Carried: @unchecked Sendable {
    var bench: Bench

    init(_ bench: consuming Bench) { self.bench = bench }
}

private func pipe() throws -> (Int32, Int32) {
    var ends: [Int32] = [0, 0]
    guard Glibc.pipe(&ends) == 0 else { throw SystemError(errno, "open a pipe") }
    return (ends[0], ends[1])
}
