import Glibc
import Primitives

/// What a snapshot is told when it begins.
public struct RDBFacts {
    /// Auxiliary fields, in order.
    public var fields: [(String, String)]
    /// Sources of the libraries of functions.
    public var functions: [[UInt8]]
    public var hasChecksum: Bool

    public init(fields: [(String, String)], functions: [[UInt8]], hasChecksum: Bool) {
        self.fields = fields
        self.functions = functions
        self.hasChecksum = hasChecksum
    }
}

extension Store {
    /// Begins an RDB file of everything as it is now. The world stands still; the first worker's requests
    /// go to `file`. `wake`: lets the first worker have a turn, from any thread. `ended`: errno or 0, on
    /// the first worker. `unreadable`: a key that is missing from the file, from any thread. Nil: no RAM
    /// for it.
    public func beginRDB(
        _ file: DiskFile, _ facts: RDBFacts, wake: @escaping () -> Void,
        unreadable: @escaping (ByteView) -> Void, ended: @escaping (Int) -> Void
    ) -> Snapshot? {
        let blockSize = options.memoryLimit < 256 << 20 ? 64 << 10 : 256 << 10
        let output = SnapshotFile(
            file, extents: extents, blockSize: blockSize, workers: workers.count,
            checks: facts.hasChecksum, wake: wake)
        let format = RDBSnapshot(output, self, checks: facts.hasChecksum)
        format.onUnreadable = unreadable
        guard format.writeHead(facts: facts.fields, functions: facts.functions) else { return nil }
        let snapshot = Snapshot(format, output, self, ended: ended)
        for worker in workers { worker.begin(snapshot) }
        return snapshot
    }

    /// Begins a checkpoint of everything as it is now, whose number (`SegmentLog.beginCheckpoint`) is in the
    /// answer. As `beginRDB`; `libraries`: sources of the libraries of functions. `isLast`: no loop runs any
    /// more; dirty values are written to the log.
    public func beginCheckpoint(
        _ file: DiskFile, libraries: [[UInt8]], blockSize: Int, isLast: Bool = false,
        wake: @escaping () -> Void, ended: @escaping (Int) -> Void
    ) -> Checkpoint? {
        let work = Bell()
        let output = SnapshotFile(
            file, extents: extents, blockSize: blockSize, workers: workers.count, checks: false,
            wake: isLast ? { work.ring() } : wake)
        output.isWrittenAside = isLast
        let format = CheckpointSnapshot(output, self, isLast: isLast)
        var head = CheckpointHead()
        head.identity = log.identity
        head.generation = log.generation
        head.hashSeed = options.hashSeed
        head.created = workers[0].now
        head.databases = options.databases
        head.epoch = epochCount
        head.swaps = databaseSwaps
        head.libraries = libraries
        guard format.writeHead(head) else { return nil }
        let snapshot = Snapshot(format, output, self, ended: ended)
        let number = log.beginCheckpoint()
        for worker in workers { worker.begin(snapshot) }
        return Checkpoint(snapshot: snapshot, format: format, number: number, work: work)
    }

    /// The databases SWAPDB has exchanged.
    public var databaseSwaps: [Superblock.Swap] {
        (0..<options.databases).compactMap { database in
            let tables = stripes.physicalDatabase(database)
            return tables == database ? nil : Superblock.Swap(database: database, tables: tables)
        }
    }
}

/// A checkpoint being written.
public struct Checkpoint {
    public let snapshot: Snapshot
    private let format: CheckpointSnapshot
    /// What `SegmentLog.checkpointIsDurable` is told when it is.
    public let number: Int

    /// Rung when there is something to write, and when something has been written: of the last one.
    private let work: Bell
    private let written = Bell()

    init(snapshot: Snapshot, format: CheckpointSnapshot, number: Int, work: Bell) {
        self.snapshot = snapshot
        self.format = format
        self.number = number
        self.work = work
    }

    /// Keys it has, once it is written.
    public var keys: Int { format.keys }
}

/// Writing the last checkpoint, when no loop runs any more: each worker walks on a thread, others write.
extension Checkpoint {
    /// Writes this worker's part to its end. `complete`: tells the worker what has ended; `handOver`: hands
    /// over what it asks of the disk, and says whether that was anything.
    public func walk(_ worker: StoreWorker, complete: () -> Void, handOver: () -> Bool) {
        let part = snapshot.parts[worker.index]
        while !snapshot.isOver {
            let heard = written.count, hadWalked = part.hasWalked
            complete()
            let hasMore = worker.saveSlice()
            if handOver() { work.ring() }
            if worker.index != 0, part.isDrained { break }
            // Nobody ends before all have walked.
            if part.hasWalked, !hadWalked { written.ring() }
            if !hasMore, !snapshot.isOver { written.wait(after: heard) }
        }
        // The first worker looks whether all are there; who writes, whether it is over.
        written.ring()
        work.ring()
    }

    /// Writes what is ready until all is written. `write`: memory, count and offset; bytes written, or minus
    /// errno. `carryOut`: one thing the workers have handed over; false if there is none.
    public func write(
        _ write: (UnsafeMutableRawPointer, Int, Int) -> Int, carryOut: () -> Bool
    ) {
        while !snapshot.isOver {
            let heard = work.count
            if carryOut() || snapshot.file.writeOne(write) {
                written.ring()
            } else if !snapshot.isOver {
                work.wait(after: heard)
            }
        }
    }
}

extension Store {
    /// The gatherer of what is appended to the append-only file; `sequence`: of its first commit.
    public func makeCommitLog(
        _ policy: CommitPolicy, sequence: UInt64, wake: @escaping () -> Void
    ) -> CommitLog {
        CommitLog(
            extents: extents, memoryLimit: options.memoryLimit, policy: policy, sequence: sequence,
            wake: wake)
    }
}
