import CSystem
import Glibc
import IOUring
import RESPFront
import Synchronization
import TieredStore

/// What takes long to read at the start - a checkpoint, or the log - is read by threads of its own beside the
/// loops, which have the workers to themselves only afterwards: until then clients are told LOADING, and
/// SIGTERM ends the process at once, with all files as they are.
final class Reading: @unchecked Sendable {
    /// A start that takes no longer than this tells nobody: clients wait so long.
    static let patience: Int32 = 200

    let gate = ReadingGate()
    /// Clients are told so.
    let isBeside = Atomic<Bool>(false)
    let hasEnded = Atomic<Bool>(false)
    /// Once it has ended: what the server begins with, or why it does not start.
    var result: Result<Recovery.Source, Server.StartError>?
    /// Sources of libraries of functions.
    var libraries: [[UInt8]] = []
    /// Keys whose value was in RAM when the checkpoint was written.
    var wereResident = 0
    let began = csystem_monotonic_ns()
    /// Bytes done with, and in all.
    let done = Atomic<Int>(0)
    let total = Atomic<Int>(0)
}

extension Server {
    /// Loops run, and do nothing to the store yet.
    var isReading: Bool { reading.isBeside.load(ordering: .relaxed) }

    /// Reads what there is: returns when that is done, or takes long.
    func beginReading(_ source: Recovery.Source) throws(StartError) {
        guard source.keepsTierFile else { return try begin(with: source) }
        let event = mailboxes[0].event
        Parallel.detach { [self] in
            reading.gate.enter()
            do throws(StartError) { reading.result = .success(try read(source)) } catch {
                reading.result = .failure(error)
            }
            reading.gate.leave()
            reading.hasEnded.store(true, ordering: .releasing)
            Descriptors.raise(event)
        }
        let deadline = reading.began + UInt64(Reading.patience) * 1_000_000
        while !reading.hasEnded.load(ordering: .acquiring), csystem_monotonic_ns() < deadline {
            var poll = pollfd(fd: event, events: Int16(POLLIN), revents: 0)
            // Something else may have raised it.
            if Glibc.poll(&poll, 1, Reading.patience) != 0 { usleep(100) }
        }
        if reading.hasEnded.load(ordering: .acquiring) { return try begin(with: reading.result!.get()) }
        reading.isBeside.store(true, ordering: .relaxed)
        state.beginReading { [reading] in
            (reading.done.load(ordering: .relaxed), reading.total.load(ordering: .relaxed))
        }
    }

    /// Everything has been read: loops begin to work. On the first loop, once a turn while it is read.
    func endReading() {
        guard reading.hasEnded.load(ordering: .acquiring) else { return }
        state.standAlone {
            do throws(StartError) {
                try begin(with: reading.result!.get())
                reading.isBeside.store(false, ordering: .relaxed)
            } catch { startFailure = error }
        }
        if startFailure != nil { stop() }
    }

    /// The process is to end while everything is read: no file was changed, and none is.
    func leaveUnread() -> Never {
        log.write(.warning, "Received shutdown signal during loading, exiting now.")
        if !configuration.unixsocket.isEmpty { unlink(configuration.unixsocket) }
        exit(0)
    }

    /// Runs `body` for each worker, on a thread.
    func forEachWorker(_ body: @escaping (StoreWorker) -> Void) {
        let gate = reading.gate, workers = state.store.workers
        gate.leave()
        Parallel.run(workers.count) {
            gate.enter()
            body(workers[$0])
            gate.leave()
        }
        gate.enter()
    }
}
