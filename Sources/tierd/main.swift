import Glibc
import RESPFront
import TierServer

/// tierd [configuration file] [--name value …]
do {
    let configuration = try Configuration.load(arguments: Array(CommandLine.arguments.dropFirst()))
    try Server(configuration).run()
} catch {
    let line = Array("tierd: \(error)\n".utf8)
    write(2, line, line.count)
    exit(1)
}
