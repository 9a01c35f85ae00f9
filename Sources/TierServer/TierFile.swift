import CSystem
import Glibc
import IOUring
import Primitives
import TieredStore

/// The tier file on disk: opened, checked to be ours, locked, given its first blocks.
struct TierFile {
    /// Why the server must not start; one line for a person.
    struct Refusal: Error, CustomStringConvertible {
        let description: String
    }

    let descriptor: Int32
    let path: String
    let generation: UInt64
    /// Room for the superblock and the segment table, aligned for O_DIRECT.
    private let memory: UnsafeMutableRawPointer
    let headerSize: Int

    /// Opens or creates the file at `path` for the segments of `log`. In this version the file starts
    /// empty: nothing in it is looked at but its superblock, whose generation is counted up.
    init(path: String, log: SegmentLog, hashSeed: UInt64) throws(Refusal) {
        self.path = path
        let segmentSize = log.segmentSize, segmentCount = log.segmentCount
        headerSize = log.headerSize
        guard segmentCount >= log.leastSegments else {
            throw Refusal(description: """
                tier file \(path): tier-max-bytes is too small, or its file system too full: it needs \
                at least \(log.leastSegments) segments of \(segmentSize >> 10) KiB \
                (\(segmentSize * log.leastSegments >> 10) KiB)
                """)
        }
        memory = .allocate(byteCount: headerSize, alignment: 4096)
        do throws(SystemError) {
            descriptor = try Descriptors.open(path)
            try Descriptors.lock(descriptor)
            generation = try TierFile.previousGeneration(descriptor, path, memory) + 1
            try Descriptors.truncate(descriptor, to: UInt64(headerSize + segmentSize * segmentCount))
        } catch {
            throw Refusal(description: "tier file \(path): \(error.description)")
        }
        Superblock(
            segmentSize: segmentSize, segmentCount: segmentCount, generation: generation,
            hashSeed: hashSeed
        ).encode(to: memory)
        (memory + 4096).initializeMemory(as: UInt8.self, repeating: 0, count: headerSize - 4096)
        try writeHeader()
    }

    /// Generation of the file's superblock; 0 for an empty file. Someone else's file is refused.
    private static func previousGeneration(
        _ descriptor: Int32, _ path: String, _ memory: UnsafeMutableRawPointer
    ) throws(SystemError) -> UInt64 {
        let length = try Descriptors.length(of: descriptor)
        if length == 0 { return 0 }
        guard length >= 4096, pread(descriptor, memory, 4096, 0) == 4096 else {
            throw SystemError(EINVAL, "use it: it is not empty and not a tier file")
        }
        do throws(Superblock.Refusal) {
            return try Superblock(decoding: memory).generation
        } catch {
            switch error {
            case .notATierFile: throw SystemError(EINVAL, "use it: it is not a tier file")
            case .damaged: throw SystemError(EINVAL, "use it: its superblock is damaged")
            case .newerFormat(let version):
                throw SystemError(EINVAL, "use it: it has format \(version), written by a newer tierd")
            }
        }
    }

    /// The superblock and the segment table as they should stand in the file now.
    func header(of log: SegmentLog) -> UnsafeMutableRawPointer {
        Superblock.encodeTable(of: log, to: memory + 4096)
        return memory
    }

    /// Writes the superblock and the segment table.
    func writeHeader(of log: SegmentLog? = nil) throws(Refusal) {
        if let log { _ = header(of: log) }
        guard pwrite(descriptor, memory, headerSize, 0) == headerSize else {
            let error = SystemError(errno, "write its superblock")
            throw Refusal(description: "tier file \(path): \(error.description)")
        }
    }

    /// Bytes free on the file system of the file at `path`, and what the file has already.
    static func room(path: String) throws(Refusal) -> Int {
        var own = stat()
        let exists = stat(path, &own) == 0
        var status = statvfs()
        guard statvfs(exists ? path : TierFile.directory(of: path), &status) == 0 else {
            let error = SystemError(errno, "find out how much room there is")
            throw Refusal(description: "tier file \(path): \(error.description)")
        }
        let used = exists ? Int(own.st_blocks) * 512 : 0
        return Int(status.f_bavail) * Int(status.f_frsize) + used
    }

    private static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
