import CSystem
import Glibc
import IOUring
import Primitives
import TieredStore

/// The tier file on disk: opened, checked to be ours, locked, its first blocks written.
final class TierFile {
    /// Why the server must not start; one line for a person.
    struct Refusal: Error, CustomStringConvertible {
        let description: String
    }

    let descriptor: Int32
    let path: String
    /// How it was found; nil: it was empty.
    let previous: Superblock?
    /// Its segment table, if that is sound.
    let previousRows: [Superblock.SegmentRow]?
    private(set) var superblock = Superblock(segmentSize: 4096, segmentCount: 0, generation: 0, hashSeed: 0)
    /// Room for the superblock and the segment table, aligned for O_DIRECT.
    private var memory: UnsafeMutableRawPointer
    /// Bytes that are written of it.
    private(set) var headerCount = 4096

    /// Opens or creates the file at `path`; nothing in it is changed.
    init(path: String) throws(Refusal) {
        self.path = path
        memory = .allocate(byteCount: 4096, alignment: 4096)
        do throws(SystemError) {
            descriptor = try Descriptors.open(path)
            try Descriptors.lock(descriptor)
            previous = try TierFile.superblock(descriptor, memory)
        } catch {
            throw Refusal(description: "tier file \(path): \(error.description)")
        }
        guard let previous else {
            previousRows = nil
            return
        }
        let count = Superblock.size(segments: previous.segmentCount) - 4096
        let table = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 4096)
        defer { table.deallocate() }
        let isWhole = pread(descriptor, table, count, 4096) == count
        previousRows = isWhole ? Superblock.decodeTable(table, segments: previous.segmentCount) : nil
    }

    deinit { memory.deallocate() }

    /// What tells the version of a segment as its header in the file has it; nil: it has none.
    func versions(of log: SegmentLog) -> (Int) -> UInt32? {
        var known: [Int: UInt32?] = [:]
        return { [descriptor] segment in
            if let version = known[segment] { return version }
            let block = UnsafeMutableRawPointer.allocate(byteCount: SegmentHeader.size, alignment: 4096)
            defer { block.deallocate() }
            let place = off_t(log.position(segment, 0))
            let isThere = pread(descriptor, block, SegmentHeader.size, place) == SegmentHeader.size
            let version = isThere
                ? SegmentHeader.decode(block, segment: segment, identity: log.identity) : nil
            known[segment] = .some(version)
            return version
        }
    }

    /// Lets others have the file: the process ends.
    func unlock() { flock(descriptor, LOCK_UN) }

    /// The file's superblock; nil for an empty file. Someone else's file is refused.
    private static func superblock(
        _ descriptor: Int32, _ memory: UnsafeMutableRawPointer
    ) throws(SystemError) -> Superblock? {
        let length = try Descriptors.length(of: descriptor)
        if length == 0 { return nil }
        guard length >= 4096, pread(descriptor, memory, 4096, 0) == 4096 else {
            throw SystemError(EINVAL, "use it: it is not empty and not a tier file")
        }
        do throws(Superblock.Refusal) { return try Superblock(decoding: memory) } catch {
            switch error {
            case .notATierFile: throw SystemError(EINVAL, "use it: it is not a tier file")
            case .damaged: throw SystemError(EINVAL, "use it: its superblock is damaged")
            case .newerFormat(let version):
                throw SystemError(EINVAL, "use it: it has format \(version), written by a newer tierd")
            }
        }
    }

    /// Segments that may hold something, counted from the first.
    var segmentsKept: Int {
        guard let previous else { return 0 }
        guard previous.ending == .saved, let previousRows else { return previous.segmentCount }
        return (previousRows.lastIndex { $0.state != .free } ?? -1) + 1
    }

    /// Gives the file the size of `log`, which has another geometry only if nothing in the file is wanted.
    func begin(_ log: SegmentLog, hashSeed: UInt64) throws(Refusal) {
        guard log.usableCount >= log.leastSegments else {
            throw Refusal(description: """
                tier file \(path): tier-max-bytes is too small, or its file system too full: it needs \
                at least \(log.leastSegments) segments of \(log.segmentSize >> 10) KiB \
                (\(log.segmentSize * log.leastSegments >> 10) KiB)
                """)
        }
        superblock = Superblock(
            segmentSize: log.segmentSize, segmentCount: log.segmentCount, generation: log.generation,
            hashSeed: hashSeed, headerSize: log.headerSize)
        headerCount = Superblock.size(segments: log.segmentCount)
        memory.deallocate()
        memory = .allocate(byteCount: headerCount, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: headerCount)
        do throws(SystemError) {
            try Descriptors.truncate(
                descriptor, to: UInt64(log.headerSize + log.segmentSize * log.segmentCount))
        } catch { throw Refusal(description: "tier file \(path): \(error.description)") }
    }

    /// The superblock and the segment table as they should stand in the file now: `headerCount` bytes.
    func header(of store: Store) -> UnsafeMutableRawPointer {
        superblock.identity = store.log.identity
        superblock.sequence = store.log.lastSequence
        superblock.swaps = store.databaseSwaps
        superblock.encode(to: memory)
        Superblock.encodeTable(of: store.log, to: memory + 4096)
        return memory
    }

    /// Writes the superblock and the segment table and makes them, and all records before them, durable.
    func writeHeader(of store: Store, ending: Superblock.Ending = .none) throws(Refusal) {
        superblock.ending = ending
        guard pwrite(descriptor, header(of: store), headerCount, 0) == headerCount, fdatasync(descriptor) == 0
        else {
            let error = SystemError(errno, "write its superblock")
            throw Refusal(description: "tier file \(path): \(error.description)")
        }
    }

    /// Bytes free on the file system of the file at `path`, and what the file has already.
    static func room(path: String) throws(Refusal) -> Int {
        var own = stat()
        let exists = stat(path, &own) == 0
        guard let free = freeBytes(path: exists ? path : TierFile.directory(of: path)) else {
            let error = SystemError(errno, "find out how much room there is")
            throw Refusal(description: "tier file \(path): \(error.description)")
        }
        return free + (exists ? Int(own.st_blocks) * 512 : 0)
    }

    /// Bytes free on the file system of what is at `path`; nil: errno.
    private static func freeBytes(path: String) -> Int? {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { return nil }
        return Int(status.f_bavail) * Int(status.f_frsize)
    }

    /// Whether the disk has room for so many bytes, beside what the file has.
    func hasRoom(_ bytes: Int) -> Bool { TierFile.freeBytes(path: path).map { $0 >= bytes } ?? false }

    private static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
