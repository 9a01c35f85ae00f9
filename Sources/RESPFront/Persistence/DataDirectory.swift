import TieredStore

/// Why a file of the data directory could not be opened, read or named.
public struct FileFailure: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// The directory the server keeps its files in. Whoever runs the store gives it: the server, or a test.
///
/// Files are opened and named at once, on any thread. What is in a file that is being written goes through
/// the first worker's `DiskRequest`s, so that no loop waits for it.
public protocol DataDirectory: AnyObject {
    /// An empty file for writing, under a name of its own until it is closed. `isDirect`: past the page
    /// cache.
    func create(_ name: String, isDirect: Bool) throws(FileFailure) -> DiskFile
    /// Closes a file; from now on it has this name, after a crash too. On an error it is deleted.
    func close(_ file: DiskFile, as name: String) throws(FileFailure)
    /// Closes a file under the name it has; it ends at `byteCount`.
    func close(_ file: DiskFile, at byteCount: Int)
    func byteCount(_ file: DiskFile) -> Int
    /// Nil: there is no such file.
    func byteCount(_ name: String) -> Int?
    /// A directory in this one, unless it is there.
    func makeDirectory(_ name: String) throws(FileFailure)
    func exists(_ name: String) -> Bool
    /// Names of what is in a directory in this one; none if it cannot be read.
    func names(in directory: String) -> [String]
    /// A small file as a whole; nil if it cannot be read.
    func contents(_ name: String) -> [UInt8]?
    /// Replaces a small file, so that a crash leaves the old or the new one.
    func replace(_ name: String, with bytes: [UInt8]) throws(FileFailure)
    func rename(_ name: String, to other: String) throws(FileFailure)
    /// Deletes a file, if it is there; without waiting, since a long one takes long.
    func delete(_ name: String)
    /// Closes a file and deletes it.
    func discard(_ file: DiskFile)
    /// Carries out what a worker asks of the disk, and waits for it: only while no loop runs, or the world
    /// stands still.
    func carryOut(_ worker: StoreWorker)
}

extension DataDirectory {
    /// Of a directory that no backups are taken into.
    public func names(in directory: String) -> [String] { [] }
}
