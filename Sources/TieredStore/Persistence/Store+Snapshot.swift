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
