// As applications.py: answers, and keeps a journal.  node application.js HOST PORT JOURNAL IDLE_MS MAX_REQUESTS
const fs = require("node:fs");
const http = require("node:http");

const [host, port, journal, idle, maxRequests] = process.argv.slice(2);

const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    fs.appendFileSync(journal, `${request.method} ${request.url}\n`);
    // Node adds its Keep-Alive hint to every response, except where the application decides.
    if (request.url.startsWith("/without-hint")) response.setHeader("Connection", "keep-alive");
    response.end("ok");
  });
});
server.keepAliveTimeout = Number(idle);
server.maxRequestsPerSocket = Number(maxRequests);
server.listen(Number(port), host, 128);

process.on("SIGTERM", () => {
  server.close();
  server.closeAllConnections();
});
