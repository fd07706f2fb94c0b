"""`azureml.data.constants`: the words that v1 code takes from there."""

DIRECT_MODE = "direct"
DOWNLOAD_MODE = "download"
HDFS_MODE = "hdfs"
MOUNT_MODE = "mount"
UPLOAD_MODE = "upload"
WORKSPACE_BLOB_DATASTORE = "workspaceblobstore"
WORKSPACE_FILE_DATASTORE = "workspacefilestore"
