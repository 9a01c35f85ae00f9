import Glibc
import Primitives
import TieredStore

/// The append-only file on its way into the keyspace, a slice at a time: its base, then what was appended.
///
/// Reads tierd's own files, and those of Redis 7.0 and before: plain requests, with or without an RDB file
/// before them.
final class AOFLoad: DatasetLoad {
    private static let sliceBytes = 256 << 10

    private enum Stage { case opening, base(RDBLoad), commits(CommitReader), plain, ended }

    private unowned let server: ServerState
    private let directory: String
    /// What was passed over, behind a torn end, is history.
    private(set) var manifest: AOFManifest
    private var parts: [AOFManifest.Part]
    private let replay: Replay
    private var stage = Stage.opening
    private var next = 0
    private var descriptor: Int32 = -1
    private var path = ""
    private var partBytes = 0
    private var doneBefore = 0
    private let byteCount: Int
    let began: Int64
    private let startedAt: UInt64
    private var reportedAt: UInt64
    private var chain: CommitChain
    private(set) var keysLoaded = 0
    private(set) var keysExpired = 0
    private(set) var bytes = (base: 0, increments: 0)
    /// Where the requests of a plain file begin, and what of it was read.
    private var plainStart = 0
    private var plainRead = 0
    private var buffer = [UInt8](repeating: 0, count: AOFLoad.sliceBytes)

    /// `directory`: of the files. Errors: one of them cannot be opened.
    init(_ server: ServerState, _ manifest: AOFManifest, in directory: String) throws(FileFailure) {
        self.server = server
        self.directory = directory
        chain = CommitChain(in: directory)
        var known = AOFManifest(parts: manifest.parts.filter { $0.kind == .base })
        known.parts += manifest.increments
        self.manifest = known
        // A checkpoint is there already: it is loaded before loops run.
        parts = known.checkpoint == nil ? known.parts : known.increments
        replay = Replay(server.fronts[0])
        began = server.fronts[0].worker.now
        startedAt = server.fronts[0].worker.instant
        reportedAt = startedAt
        var sum = 0
        for part in known.parts {
            var facts = stat()
            guard stat("\(directory)/\(part.name)", &facts) == 0 else {
                throw FileFailure("\(directory)/\(part.name): \(String(cString: strerror(errno)))")
            }
            let size = Int(facts.st_size)
            if part.kind == .base { bytes.base = size } else { bytes.increments += size }
            if parts.contains(part) { sum += size }
        }
        byteCount = sum
        // Nothing is over before the time of what is read.
        server.replayClock = 1
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    /// Nothing is run again any more.
    func end() { replay.end() }

    /// Where recording goes on.
    var place: AppendOnlyFile.Place {
        AppendOnlyFile.Place(manifest: manifest, sequence: chain.expected ?? 1, bytes: bytes)
    }

    var progress: (done: Int, of: Int) {
        let inPart = switch stage {
        case .base(let load): load.progress.done
        case .commits(let reader): reader.offset
        case .plain: plainRead
        case .opening, .ended: 0
        }
        return (doneBefore + inPart, byteCount)
    }

    func slice() throws(FileFailure) -> Bool {
        report()
        guard try run() else { return false }
        switch stage {
        case .opening: try open()
        case .base(let load):
            if try load.slice() { try endBase(load) }
        case .commits(let reader): try read(reader)
        case .plain: try readPlain()
        case .ended:
            finish()
            return true
        }
        return false
    }

    private func run() throws(FileFailure) -> Bool {
        do throws(Replay.Failure) { return try replay.run() } catch {
            switch error {
            case .outOfMemory: throw FileFailure("\(path): RAM and SSD are full")
            case .malformed(let offset):
                throw FileFailure("""
                    Bad file format reading the append only file \(path) at byte \(plainStart + offset): \
                    make a backup of your AOF file, then use tierctl verify
                    """)
            }
        }
    }

    // MARK: Files

    private func open() throws(FileFailure) {
        guard next < parts.count else { return stage = .ended }
        let part = parts[next]
        path = "\(directory)/\(part.name)"
        descriptor = Glibc.open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(errno) }
        var facts = stat()
        partBytes = fstat(descriptor, &facts) == 0 ? Int(facts.st_size) : 0
        // What a server that was killed left to the kernel is made durable before anything goes on behind it.
        // What the kernel could not write it still has in its cache, as if it had: it is read from the disk.
        if fdatasync(descriptor) != 0 { throw failure(errno) }
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
        replay.beginFile()
        var magic = [UInt8](repeating: 0, count: 5)
        let count = pread(descriptor, &magic, 5, 0)
        plainStart = replay.offset
        if count == 5, magic == Array("REDIS".utf8) {
            stage = .base(try RDBLoad(server, path: path, isBase: true))
        } else if part.first != nil {
            guard try mayRead() else { return }
            stage = .commits(CommitReader(
                descriptor: descriptor, number: part.number, byteCount: partBytes,
                expected: part.first))
        } else {
            beginPlain(at: 0)
        }
    }

    private func beginPlain(at offset: Int) {
        plainRead = offset
        plainStart = offset - replay.offset
        stage = .plain
    }

    private func endPart() {
        doneBefore += partBytes
        close(descriptor)
        descriptor = -1
        next += 1
        stage = .opening
    }

    private func endBase(_ load: RDBLoad) throws(FileFailure) {
        keysLoaded += load.keysLoaded
        if load.end < partBytes { beginPlain(at: load.end) } else { endPart() }
    }

    private func failure(_ code: Int32) -> FileFailure {
        FileFailure("\(path): \(String(cString: strerror(code)))")
    }

    // MARK: Commits

    private func read(_ reader: CommitReader) throws(FileFailure) {
        let records: ByteView?
        do throws(CommitReader.Failure) { records = try reader.next() } catch { throw describe(error, path) }
        if let records { return replay.feed(records) }
        do throws(CommitChain.Failure) {
            let verdict = try chain.end(reader, before: parts[(next + 1)...])
            if verdict == .restIsPassedOver { dropLater(from: next + 1) }
        } catch { throw describe(error) }
        if case .torn(let offset) = reader.end { try cut(at: offset) }
        endPart()
    }

    /// Whether the file that was opened may be read; else it and those behind it are no more.
    private func mayRead() throws(FileFailure) -> Bool {
        do throws(CommitChain.Failure) {
            if try chain.begin(parts[next...]) == .goesOn { return true }
        } catch { throw describe(error) }
        dropLater(from: next)
        close(descriptor)
        descriptor = -1
        return false
    }

    private func dropLater(from index: Int) {
        let names = parts[index...].map(\.name)
        server.log(.warning, """
            append-only file: nothing in \(names.joined(separator: ", ")) was acknowledged as durable: \
            passed over
            """)
        parts.removeSubrange(index...)
        for i in manifest.parts.indices where names.contains(manifest.parts[i].name) {
            manifest.parts[i].kind = .history
        }
    }

    private func describe(_ error: CommitChain.Failure) -> FileFailure {
        describe(error.reason, "\(directory)/\(error.name)")
    }

    private func describe(_ error: CommitReader.Failure, _ path: String) -> FileFailure {
        switch error {
        case .unreadable(let offset, let code):
            return FileFailure("\(path) at byte \(offset): \(String(cString: strerror(code)))")
        case .damaged(let offset):
            return FileFailure("""
                \(path) at byte \(offset): commits that had been made durable are damaged; later ones are \
                not. Restore a backup, or cut the file there and lose what follows
                """)
        case .newerVersion(let version):
            return FileFailure("\(path): it has format \(version), written by a newer tierd")
        case .gap(let found, let expected):
            return FileFailure("""
                \(path): commits that had been made durable are missing: \(expected) is, and \(found) is there
                """)
        }
    }

    /// The file's end is torn (Redis 7.0 aof-load-truncated).
    private func cut(at offset: Int) throws(FileFailure) {
        guard server.configuration.loadsTruncated else {
            throw FileFailure("""
                Unexpected end of file reading the append only file \(path) at byte \(offset). You can \
                set the 'aof-load-truncated' configuration option to yes
                """)
        }
        server.log(.warning, "!!! Warning: short read while loading the AOF file \(path)!!!")
        server.log(.warning, "AOF loaded anyway because aof-load-truncated is enabled")
        server.log(.warning, "Truncating the AOF \(path) at offset \(offset)")
        if ftruncate(descriptor, offset) != 0 || fsync(descriptor) != 0 { throw failure(errno) }
        partBytes = offset
    }

    // MARK: Plain requests

    private func readPlain() throws(FileFailure) {
        let count = pread(descriptor, &buffer, AOFLoad.sliceBytes, plainRead)
        if count < 0 {
            if errno == EINTR { return }
            throw failure(errno)
        }
        if count == 0 { return try endPlain() }
        plainRead += count
        buffer.withView { replay.feed($0[0..<count]) }
    }

    private func endPlain() throws(FileFailure) {
        if !replay.isDone || replay.isInTransaction {
            guard next == parts.count - 1 else {
                throw FileFailure("\(path): unexpected end of file, and it is not the last one")
            }
            try cut(at: plainStart + replay.wholeOffset)
            replay.forget()
        }
        endPart()
    }

    // MARK: What is said

    private func report() {
        let now = server.fronts[0].worker.instant
        guard now - reportedAt > 5_000_000_000, byteCount > 0 else { return }
        reportedAt = now
        server.log(.notice, "Loading the append only file: \(progress.done * 100 / byteCount) %")
    }

    private func finish() {
        let seconds = Double(server.fronts[0].worker.instant - startedAt) / 1e9
        server.log(.notice, """
            DB loaded from append only file: \(Info.fixed(seconds, 3)) seconds, \(replay.commands) commands
            """)
    }
}
