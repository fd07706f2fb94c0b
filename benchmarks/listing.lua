-- List Blobs and Get Container Properties of the shaped server. A container is a number of blobs and a function from a place
-- to a blob: read from an index file, sorted by key (key, size, ETag and Last-Modified, with tabs between), or made up from
-- the place itself, so that ten million take no memory. A marker is the first key of the next page,
-- startFrom the first that is asked for.

local listing = { containers = {} }

local function indexed(path)
    local blobs = {}
    for line in io.lines(path) do
        local key, size, etag, modified = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$")
        blobs[#blobs + 1] = { key = key, size = size, etag = etag, modified = modified }
    end
    return { count = #blobs, at = function(place) return blobs[place] end }
end

-- The key as `small_key` in content.py makes it.
local function pretended(count)
    return { count = count, at = function(place)
        if place > count then return nil end
        local number = place - 1
        local key = string.format("%04d/%07d.bin", math.floor(number / 1000), number)
        return { key = key, size = 100000, etag = "69000000-186a0", modified = "Thu, 01 Jan 1970 00:00:00 GMT" }
    end }
end

function listing.load(folder)
    for line in io.lines(folder .. "/containers") do
        local name, count = line:match("^([^\t]*)\t?(%d*)$")
        listing.containers[name] = count ~= "" and pretended(tonumber(count)) or indexed(folder .. "/" .. name .. ".tsv")
    end
end

local function escaped(text)
    return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

-- The first place whose key is not below `key`.
local function place(blobs, key)
    local low, high = 1, blobs.count + 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if blobs.at(middle).key < key then low = middle + 1 else high = middle end
    end
    return low
end

local function blob_xml(blob)
    return "<Blob><Name>" .. escaped(blob.key) .. "</Name><Properties><Creation-Time>" .. blob.modified
        .. "</Creation-Time><Last-Modified>" .. blob.modified .. "</Last-Modified><Etag>" .. blob.etag
        .. "</Etag><Content-Length>" .. blob.size .. "</Content-Length><Content-Type>application/octet-stream"
        .. "</Content-Type><BlobType>BlockBlob</BlobType></Properties></Blob>"
end

local function page(blobs, prefix, delimiter, start, limit)
    local found, at = {}, place(blobs, start > prefix and start or prefix)
    local blob = blobs.at(at)
    while blob and blob.key:sub(1, #prefix) == prefix do
        if #found == limit then return found, blob.key end
        local cut = delimiter ~= "" and blob.key:find(delimiter, #prefix + 1, true)
        if cut then
            local folder = blob.key:sub(1, cut + #delimiter - 1)
            found[#found + 1] = "<BlobPrefix><Name>" .. escaped(folder) .. "</Name></BlobPrefix>"
            at = place(blobs, folder .. "\255")
        else
            found[#found + 1] = blob_xml(blob)
            at = at + 1
        end
        blob = blobs.at(at)
    end
    return found, ""
end

function listing.answer(container)
    local blobs, asked = listing.containers[container], ngx.req.get_uri_args()
    ngx.header["Content-Type"] = "application/xml"
    ngx.header["x-ms-version"] = "2021-12-02"
    if not blobs then
        ngx.header["x-ms-error-code"] = "ContainerNotFound"
        ngx.status = 404
        return
    end
    if asked.comp ~= "list" then
        ngx.header["ETag"] = '"' .. container .. '"'
        ngx.header["Last-Modified"] = "Thu, 01 Jan 2026 00:00:00 GMT"
        return
    end
    local limit = math.min(tonumber(asked.maxresults) or 5000, 5000)
    local start, marker = asked.startFrom or "", asked.marker or ""
    local found, next_marker = page(blobs, asked.prefix or "", asked.delimiter or "", marker > start and marker or start, limit)
    local body = '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="' .. container .. '"><MaxResults>' .. limit .. "</MaxResults><Blobs>"
        .. table.concat(found) .. "</Blobs><NextMarker>" .. escaped(next_marker) .. "</NextMarker></EnumerationResults>"
    ngx.header["Content-Length"] = #body
    ngx.print(body)
end

return listing
